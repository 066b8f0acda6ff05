package main

import (
	"archive/tar"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// fails builds, which has to fail with a message that has the text, and to leave nothing.
func (s *site) fails(want string, args ...string) {
	s.Helper()
	digest, progress, err := s.build(args...)
	if err == nil || digest != "" {
		s.Errorf("build %v went well", args)
	}
	last := progress[strings.LastIndex(strings.TrimSpace(progress), "\n")+1:]
	if !strings.Contains(last, want) {
		s.Errorf("build %v ends with %q, and not with %q\n%s", args, last, want, progress)
	}
	if left := s.leftovers(); len(left) > 0 {
		s.Errorf("build %v leaves %q", args, left)
	}
}

// layoutOf writes an image with layers.
func (s *site) layoutOf(name string, layers ...[]byte) string {
	s.Helper()
	img, err := empty.Image, error(nil)
	for _, l := range layers {
		if err == nil {
			img, err = mutate.AppendLayers(img, static.NewLayer(l, types.OCIUncompressedLayer))
		}
	}
	if err == nil {
		img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: rootFS(img)})
	}
	dir := filepath.Join(s.dir, name)
	if err == nil {
		err = writeLayout(s.Context(), img, dir, "latest")
	}
	if err != nil {
		s.Fatal(err)
	}
	return dir
}

func rootFS(img v1.Image) v1.RootFS {
	cfg, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{}
	}
	return cfg.RootFS
}

func TestBadContexts(t *testing.T) {
	s := newSite(t)
	s.files("outside", map[string]string{"secret": "secret"})
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"absolute link":        {map[string]string{"Dockerfile": "FROM scratch\nCOPY link /", "link": "->" + s.dir + "/outside/secret"}, "absolute link/Dockerfile:2: COPY: link is a link to " + s.dir + "/outside/secret, which is not there"},
		"relative link":        {map[string]string{"Dockerfile": "FROM scratch\nCOPY link /", "link": "->../outside/secret"}, "relative link/Dockerfile:2: COPY: link is a link to ../outside/secret, which is not there"},
		"link to a directory":  {map[string]string{"Dockerfile": "FROM scratch\nCOPY link/secret /", "link": "->../outside"}, "link to a directory/Dockerfile:2: COPY: link/secret is not there"},
		"ADD of a link":        {map[string]string{"Dockerfile": "FROM scratch\nADD link /", "link": "->../outside/secret"}, "ADD of a link/Dockerfile:2: ADD: link is a link to"},
		".. in a variable":     {map[string]string{"Dockerfile": "FROM scratch\nARG X=..\nCOPY $X/outside /"}, ".. in a variable/Dockerfile:3: COPY: ../outside leads outside of the build context"},
		"nothing there":        {map[string]string{"Dockerfile": "FROM scratch\nCOPY a b*.txt /c/"}, "nothing there/Dockerfile:2: COPY: a is not there"},
		"ignored":              {map[string]string{"Dockerfile": "FROM scratch\nCOPY a /", "a": "", ".dockerignore": "a"}, "ignored/Dockerfile:2: COPY: a is excluded by .dockerignore"},
		"several into one":     {map[string]string{"Dockerfile": "FROM scratch\nCOPY a b /c", "a": "", "b": ""}, "several into one/Dockerfile:2: COPY: with several sources /c has to end with /"},
		"a whiteout's name":    {map[string]string{"Dockerfile": "FROM scratch\nCOPY .wh.a /", ".wh.a": ""}, "a whiteout's name/Dockerfile:2: COPY: .wh.a: names that begin with .wh."},
		"layout outside":       {map[string]string{"Dockerfile": "FROM oci:../outside"}, "layout outside/Dockerfile:1: FROM oci:../outside: statat ../outside: path escapes from parent"},
		"rootfs outside":       {map[string]string{"Dockerfile": "FROM rootfs:link", "link": "->../outside/secret"}, "rootfs outside/Dockerfile:1: FROM rootfs:link: statat link: path escapes from parent"},
		"no layout":            {map[string]string{"Dockerfile": "FROM oci:sub", "sub/a": ""}, "no layout/Dockerfile:1: FROM oci:sub: oci:sub: stat "},
		"a signal that is not": {map[string]string{"Dockerfile": "FROM scratch\nSTOPSIGNAL SIGNOT"}, "a signal that is not/Dockerfile:2: STOPSIGNAL: SIGNOT is no signal"},
		"a port that is not":   {map[string]string{"Dockerfile": "FROM scratch\nEXPOSE http"}, "a port that is not/Dockerfile:2: EXPOSE: http is no port"},
		"a mode that is not":   {map[string]string{"Dockerfile": "FROM scratch\nCOPY --chmod=u+x a /", "a": ""}, "a mode that is not/Dockerfile:2: COPY: --chmod=u+x is not supported"},
		"a user that is not":   {map[string]string{"Dockerfile": "FROM scratch\nCOPY --chown=me a /", "a": ""}, "a user that is not/Dockerfile:2: COPY: --chown=me: USER me: unable to find user me"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			s.files(name, c.files)
			s.fails(c.want, name)
		})
	}
}

func TestBadArchives(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		h    tar.Header
		want string
	}{
		"absolute":     {tar.Header{Name: s.dir + "/escaped"}, `escaped": an absolute path`},
		"escaping":     {tar.Header{Name: "a/../../../escaped"}, `"a/../../../escaped": a path with ..`},
		"hard link":    {tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}, `"a": a link to "../../etc/passwd": a path with ..`},
		"absolute one": {tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, `"a": a link to "/etc/passwd": an absolute path`},
		"device":       {tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}, `"sda": a device, which may not be made in a user namespace`},
		"owner":        {tar.Header{Name: "a", Uid: 3000000}, `"a": its owner 3000000:0 is not among the subordinate ids`},
		"redirect":     {tar.Header{Name: "a/", Typeflag: tar.TypeDir, Format: tar.FormatPAX, PAXRecords: map[string]string{xattr + ovl + "redirect": "/etc"}}, `"a/": the extended attribute user.overlay.redirect`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			b := archive(t, c.h)
			s.files(name, map[string]string{"Dockerfile": "FROM scratch\n\nADD x.tar /", "x.tar": string(b)})
			s.fails(c.want, name)
			s.fails(name+"/Dockerfile:3: ADD: x.tar: ", name)
			s.files(name+" as rootfs", map[string]string{"Dockerfile": "FROM rootfs:x.tar", "x.tar": string(b)})
			s.fails(name+" as rootfs/Dockerfile:1: FROM rootfs:x.tar: ", name+" as rootfs")
			s.files(name+" in a layer", map[string]string{"Dockerfile": "FROM bad"})
			layout := s.layoutOf(name+".layout", b)
			s.fails(c.want, "-build-context", "bad=oci:"+layout, name+" in a layer")
		})
	}
	if exists(filepath.Join(s.dir, "escaped")) {
		t.Error("something escaped")
	}
}

func TestCutArchive(t *testing.T) {
	s := newSite(t)
	b := archive(t, tar.Header{Name: "a", Uname: strings.Repeat("text", 1000)})
	s.files("cut", map[string]string{"Dockerfile": "FROM scratch\nADD x.tar /", "x.tar": string(b[:2000])})
	s.fails("cut/Dockerfile:2: ADD: x.tar: ", "cut")
}

func TestLayerWithWrongDigest(t *testing.T) {
	s := newSite(t)
	dir := s.layoutOf("layout", archive(t, tar.Header{Name: "file", Uname: "what was signed"}))
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		b, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(b), "signed"); i > 0 {
			copy(b[i:], "forged")
			if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, b, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.files("ctx", map[string]string{"Dockerfile": "FROM bad"})
	s.fails("its digest is wrong: what came is sha256:", "-build-context", "bad=oci:"+dir, "ctx")
}

func TestRunThatFails(t *testing.T) {
	s := newSite(t).withBase()
	for name, c := range map[string]struct {
		dockerfile string
		args       []string
		want       string
	}{
		"status":      {"FROM base\nRUN echo before && exit 42", nil, "status/Dockerfile:2: RUN: the command ended with exit status 42"},
		"signal":      {"FROM base\nRUN kill -SEGV $$", nil, "signal/Dockerfile:2: RUN: the command was ended by signal SIGSEGV"},
		"no program":  {"FROM base\nRUN [\"/none\"]", nil, "no program/Dockerfile:2: RUN: "},
		"no shell":    {"FROM scratch\nRUN echo", nil, "no shell/Dockerfile:2: RUN: "},
		"no user":     {"FROM base\nUSER nobody\nRUN id", nil, "no user/Dockerfile:3: RUN: USER nobody: unable to find user nobody"},
		"never ends":  {"FROM base\n\nRUN sleep 1000", []string{"-timeout", "1s"}, "never ends/Dockerfile:3: RUN: it did not end within 1s (--timeout)"},
		"mount place": {"FROM base\nRUN ln -s /etc /link\nRUN --mount=type=tmpfs,target=/link x", nil, "mount place/Dockerfile:3: RUN: --mount at /link: the image has a link"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache, env: []string{"SITE=" + s.dir}}
			s.files(name, map[string]string{"Dockerfile": c.dockerfile})
			s.fails(c.want, append(c.args, name)...)
		})
	}
}

func TestFullDisk(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newSite(t)
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=755,size=1m"); err != nil {
		testenv.Found(t, "rights", err)
	}
	s.files("ctx", map[string]string{"Dockerfile": "FROM scratch\nCOPY large /", "large": strings.Repeat("0123456789", 300_000)})
	cache := s.cache
	s.cache = filepath.Join(disk, "cache")
	_, progress, err := s.build("ctx")
	if err == nil || !strings.Contains(progress, "builder: ctx/Dockerfile:2: COPY: \"large\": write /large: no space left on device") {
		t.Errorf("%v\n%s", err, progress)
	}
	if left, _ := filepath.Glob(filepath.Join(s.cache, "ids-*", "*", "*")); len(left) > 0 {
		t.Errorf("it leaves %q", left)
	}
	s.cache = cache
	if err := unix.Unmount(disk, 0); err != nil {
		t.Error(err)
	}
}

func TestRegistryThatAnswersNonsense(t *testing.T) {
	s := newSite(t)
	var answer func(w http.ResponseWriter, r *http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"text":      {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, "the configuration: invalid character 'h'"},
		"a failure": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }, "unexpected status code 418"},
		"no image": {func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, "manifests") {
				return
			}
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			io.WriteString(w, `{"schemaVersion":2,"config":{"digest":"sha256:nonsense"}}`)
		}, "found non-hex character in hash: n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			answer = c.answer
			s.files(name, map[string]string{"Dockerfile": "# first\nFROM " + host + "/image"})
			s.fails(c.want, name)
			s.fails(name+"/Dockerfile:2: FROM "+host+"/image: ", name)
		})
	}
}
