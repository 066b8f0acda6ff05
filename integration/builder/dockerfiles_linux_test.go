package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/gonso/gonso/internal/testenv"
)

// special is how some directories of testdata are built and looked at.
var special = map[string]struct {
	args    []string
	another bool // the image's user is not root, which rootless runc maps alone
}{
	"args":   {args: []string{"-build-arg", "NAME=given", "-build-arg", "VERSION=2"}},
	"zstd":   {args: []string{"-compression", "zstd"}},
	"user":   {another: true},
	"config": {another: true},
}

// archives are what addtar and xattrs add.
func archives(t *testing.T, dir string) {
	t.Helper()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	switch filepath.Base(dir) {
	case "xattrs":
		write("xattrs.tar", archive(t, tar.Header{Name: "file", Uname: "content\n", Format: tar.FormatPAX,
			PAXRecords: map[string]string{xattr + "user.color": "blue\x00\xff"}}))
	case "addtar":
		b := archive(t, tar.Header{Name: "tree/", Typeflag: tar.TypeDir}, tar.Header{Name: "tree/file", Uname: "in the archive\n"},
			tar.Header{Name: "tree/link", Typeflag: tar.TypeSymlink, Linkname: "file"})
		var gz, zst bytes.Buffer
		w := gzip.NewWriter(&gz)
		w.Write(b)
		w.Close()
		z, err := zstd.NewWriter(&zst)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(b)
		z.Close()
		write("archive.tar.gz", gz.Bytes())
		write("archive.tar.zst", zst.Bytes())
		write("archive.tar.bz2", []byte("BZh91AY&SY, but nothing else"))
	}
}

var _ = testenv.Long(TestDockerfilesOfTestdata)

func TestDockerfilesOfTestdata(t *testing.T) {
	s := newSite(t).withBase()
	wants, err := filepath.Glob("testdata/*/want")
	if err != nil || len(wants) < 16 {
		t.Fatalf("%d Dockerfiles, %v", len(wants), err)
	}
	for _, path := range wants {
		name := filepath.Base(filepath.Dir(path))
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{T: t, dir: s.dir, cache: s.cache}
			dir := s.context(name)
			archives(t, dir)
			out := filepath.Join(s.dir, name+".layout")
			args := append([]string{"-t", name, "-o", out}, special[name].args...)
			digest, _ := s.mustBuild(append(args, dir)...)

			if got, err := s.run(name); err != nil || got != string(want) {
				t.Errorf("run: %v\n%s", err, got)
			}
			again, progress := s.mustBuild(append(args, dir)...)
			if again != digest || strings.Contains(progress, " layer ") {
				t.Errorf("the second build was not all from the cache: %s, then %s\n%s", digest, again, progress)
			}
			if !testenv.Full() && !slices.Contains([]string{"hardlinks", "multistage", "whiteouts", "xattrs"}, name) {
				accepted(t, s, out, name, digest, string(want))
				return
			}
			if anew, progress := s.mustBuild(append([]string{"-no-cache"}, append(args, dir)...)...); anew != digest {
				t.Errorf("without the cache it is another image: %s, then %s\n%s", digest, anew, progress)
			}
			accepted(t, s, out, name, digest, string(want))
		})
	}
}

// accepted has other programs take the image.
func accepted(t *testing.T, s *site, out, name, digest, want string) {
	tools(t, "skopeo", "umoci", "runc")
	tool := func(dir, name string, args ...string) []byte {
		t.Helper()
		c := exec.Command(name, args...)
		c.Dir = dir
		var stderr bytes.Buffer
		c.Stderr = &stderr
		b, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", c, err, b, stderr.String())
		}
		return b
	}
	var seen struct{ Digest string }
	if err := json.Unmarshal(tool("/", "skopeo", "inspect", "oci:"+out+":"+name), &seen); err != nil || seen.Digest != digest {
		t.Errorf("skopeo has the digest %s (%v), not %s", seen.Digest, err, digest)
	}
	if name == "zstd" { // Debian's umoci does not know it
		gz := out + ".gz"
		tool("/", "skopeo", "--insecure-policy", "copy", "-q", "--dest-compress-format", "gzip", "--dest-compress", "oci:"+out+":"+name, "oci:"+gz+":"+name)
		out = gz
	}
	bundle := filepath.Join(s.dir, name+".bundle")
	tool("/", "umoci", "unpack", "--rootless", "--image", out+":"+name, bundle)
	if special[name].another {
		return
	}
	config := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, bytes.Replace(b, []byte(`"terminal": true`), []byte(`"terminal": false`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	got := tool(bundle, "runc", "--root", filepath.Join(s.dir, "runc"), "run", fmt.Sprintf("gonso-builder-%d-%s", os.Getpid(), name))
	if string(got) != want {
		t.Errorf("runc run: %s", got)
	}
}

func TestConfigurationOfAnImage(t *testing.T) {
	s := newSite(t).withBase()
	out := filepath.Join(s.dir, "out")
	s.env = []string{"SOURCE_DATE_EPOCH=1700000000"}
	s.mustBuild("-o", out, s.context("config"))
	img, err := fromLayout(out, "latest")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"author":"someone"`, `"created":"2023-11-14T22:13:20Z"`, `"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}`,
		`"Volumes":{"/data":{},"/more":{}}`, `"StopSignal":"SIGUSR1"`, `"Labels":{"a":"1","b c":"d e"}`, `"User":"app"`, `"WorkingDir":"/w/x"`,
		`"Healthcheck":{"Test":["CMD-SHELL","test -e /ok"],"Interval":5000000000,"Timeout":3000000000,"Retries":2}`,
		`"Entrypoint":["echo"]`, `"Cmd":["done"]`,
	} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	if _, err := layout.FromPath(out); err != nil {
		t.Error(err)
	}
}
