package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestLatestIsTheNameWithoutTag(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base:latest\nRUN echo new >/new"})
	s.mustBuild("-t", "base:latest", "ctx")
	if out, err := s.run("base", "cat", "/new"); err != nil || out != "new\n" {
		t.Errorf("%s, %v", out, err)
	}
}

func TestBuildContextsOfOtherKindsAreRefused(t *testing.T) {
	s := newSite(t)
	s.files("ctx", map[string]string{"Dockerfile": "FROM x"})
	for _, context := range []string{"x=./dir", "x", "x=", "x=oci:", "=oci:dir", "x=docker-image://x"} {
		_, progress, err := s.build("-build-context", context, "ctx")
		if want := "write NAME=oci:DIR or NAME=rootfs:FILE"; err == nil || !strings.Contains(progress, want) {
			t.Errorf("%s: %v\n%s", context, err, progress)
		}
	}
}

// Indexes in the index of a layout are what others write for several platforms, and for attestations.
func TestLayoutsOfIndexesAreTaken(t *testing.T) {
	s := newSite(t)
	image := func(text string) v1.Image {
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(archive(t, tar.Header{Name: text}), types.OCIUncompressedLayer))
		if err == nil {
			img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: rootFS(img)})
		}
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	of := func(os, arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}
	}
	inner := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image("attestation"), Descriptor: of("unknown", "unknown")},
		mutate.IndexAddendum{Add: image("other"), Descriptor: of("plan9", "mips")}, mutate.IndexAddendum{Add: image("own"), Descriptor: of("linux", runtime.GOARCH)})
	foreign := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image("other"), Descriptor: of("plan9", "mips")})
	named := func(tag string) v1.Descriptor {
		return v1.Descriptor{Annotations: map[string]string{refName: tag}}
	}
	dir := filepath.Join(s.dir, "layout")
	if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: inner, Descriptor: named("t")},
		mutate.IndexAddendum{Add: foreign, Descriptor: named("foreign")})); err != nil {
		t.Fatal(err)
	}
	s.files("ctx", map[string]string{"Dockerfile": "FROM x\nCOPY --from=x own /copied"})
	s.mustBuild("-build-context", "x=oci:"+dir+":t", "ctx")
	s.fails(`it has no image for linux/`+runtime.GOARCH+`: there is ["plan9/mips"]`, "-build-context", "x=oci:"+dir+":foreign", "ctx")
	s.fails(`it has no image with the tag "u": there is ["t" "foreign"]`, "-build-context", "x=oci:"+dir+":u", "ctx")
	s.fails(`it has 2 images: write oci:DIR:TAG with a TAG of ["t" "foreign"]`, "-build-context", "x=oci:"+dir, "ctx")

	// Nobody checks the digests of indexes: one can hold itself.
	self := `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":"sha256:` + strings.Repeat("a", 64) + `"}]}`
	s.files("circle", map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": self, "blobs/sha256/" + strings.Repeat("a", 64): self})
	s.fails("is no image, but application/vnd.oci.image.index.v1+json", "-build-context", "x=oci:circle", "ctx")
}
func TestOutputsThatCannotBeWrittenStopNoBuildAtItsEnd(t *testing.T) {
	s := newSite(t)
	s.files("ctx", map[string]string{"Dockerfile": "FROM scratch\nCOPY f /", "f": ""})
	s.files("broken", map[string]string{"index.json": "{", "oci-layout": "{}"})
	for out, want := range map[string]string{
		"none/image.tar": "builder: -o none/image.tar: stat none: no such file",
		"ctx/f/image":    "builder: -o ctx/f/image: ",
		"ctx/f":          "builder: -o ctx/f: ",
		"ctx/f/i.tar":    "builder: -o ctx/f/i.tar: ctx/f is no directory",
		"broken":         "builder: -o broken: ",
	} {
		_, progress, err := s.build("-o", out, "ctx")
		if err == nil || !strings.HasPrefix(progress, want) {
			t.Errorf("-o %s: %v\n%s", out, err, progress)
		}
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{"there", "new/directories", "there/image.tar", "image.tar"} {
		s.mustBuild("-o", out, "ctx")
	}
}
