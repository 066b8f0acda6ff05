package main

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
)

// Whatever way an instruction names it, what .dockerignore excludes is not copied.
func TestIgnoredFilesReachNoImage(t *testing.T) {
	s := newSite(t).withBase()
	secret := string(archive(t, tar.Header{Name: "secret", Uname: "SECRET"}))
	public := string(archive(t, tar.Header{Name: "public", Uname: "public"}))
	for name, c := range map[string]struct {
		copies, ignore string
		want           string // of an error; without one it is built
	}{
		"ADD of an archive":      {"ADD secret.tar /x/", "secret.tar", "secret.tar is excluded by .dockerignore"},
		"ADD of archives":        {"ADD *.tar /x/", "secret.tar", ""},
		"ADD of a link":          {"ADD tarlink /x/", "secret.tar", "tarlink is excluded by .dockerignore"},
		"ADD of a pattern":       {"ADD secret* /x/", "secret*", ""},
		"link to a file":         {"COPY link /x/", "dir", "link is excluded by .dockerignore"},
		"link itself":            {"COPY link /x/", "link", "link is excluded by .dockerignore"},
		"link to a directory":    {"COPY dirlink /x/", "dir", "dirlink is excluded by .dockerignore"},
		"file behind a link":     {"COPY dirlink/secret /x/", "dir", "dirlink/secret is excluded by .dockerignore"},
		"pattern behind a link":  {"COPY dirlink/* /x/", "dir", ""},
		"file below a link":      {"COPY dirlink /x/", "dir/secret", ""},
		"link and no exceptions": {"COPY dirlink /x/", "*\n!public.tar", "dirlink is excluded by .dockerignore"},
		"no exceptions below":    {"COPY dir /x/", "*\n!public.tar", "dir is excluded by .dockerignore"},
		"no pattern":             {"COPY . /x/", "#\n[z-a]\ndir", "no pattern/.dockerignore:2: [z-a]: syntax error in pattern"},
		"no exception":           {"COPY . /x/", "dir\n![z-a]", "no exception/.dockerignore:2: ![z-a]: syntax error in pattern"},
		"nothing excepted":       {"COPY . /x/", "dir\n!", "nothing excepted/.dockerignore:2: !: illegal exclusion pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			s.files(name, map[string]string{"Dockerfile": "FROM base\n" + c.copies + "\nRUN ! grep -r SECRET /x", ".dockerignore": c.ignore,
				"secret.tar": secret, "public.tar": public, "tarlink": "->secret.tar", "dir/secret": "SECRET", "dir/public": "public",
				"link": "->dir/secret", "dirlink": "->dir"})
			if c.want != "" {
				s.fails(c.want, name)
				return
			}
			s.mustBuild(name)
		})
	}
}

func TestIgnoreFileOfADockerfileIsPreferred(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY . /x\nRUN ! test -e /x/secret; test -e /x/public", ".dockerignore": "public",
		"Dockerfile.dockerignore": "secret", "secret": "", "public": ""})
	s.mustBuild("ctx")
	s.files("elsewhere", map[string]string{"D": "FROM base\nCOPY . /x\nRUN ! test -e /x/public; test -e /x/secret", "D.dockerignore": "public"})
	s.mustBuild("-f", "elsewhere/D", "ctx")
}

func TestExceptionsOfWhatIsIgnoredAreCopied(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY src /src\nCOPY sr* /again/\nRUN cd /src && test \"$(find . -type f)\" = ./sub/m.go && cmp sub/m.go /again/sub/m.go",
		".dockerignore": "*\n!src/sub/m.go", "src/sub/m.go": "x", "src/secret": "", "srx": ""})
	s.mustBuild("ctx")
}

func TestPatternsMayMatchNothing(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY package.json package-lock.json* ./app/\nADD none? /none/\nCOPY --from=base /none[x] /none\n" +
		"RUN test \"$(ls /app)\" = package.json && ! test -e /none", "package.json": ""})
	s.mustBuild("ctx")
	s.files("escaped", map[string]string{"Dockerfile": "FROM base\nCOPY [\"none\\\\\\\\*\", \"/\"]"})
	s.fails(`none\* is not there`, "escaped")
}

func TestPatternsOfSeveralFilesMakeNoDirectory(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\n\nCOPY *.txt /dest", "a.txt": "", "b.txt": ""})
	s.fails("ctx/Dockerfile:3: COPY: with several sources /dest has to end with /", "ctx")
	s.files("one", map[string]string{"Dockerfile": "FROM base\nCOPY *.txt /dest\nRUN test -f /dest", "a.txt": ""})
	s.mustBuild("one")
	s.files("from", map[string]string{"Dockerfile": "FROM base AS a\nCOPY *.txt /a/\nFROM base\nCOPY --from=a /a/*.txt /dest/\nCOPY --from=a /a/*.txt /dest2", "a.txt": "", "b.txt": ""})
	s.fails("from/Dockerfile:5: COPY: with several sources /dest2 has to end with /", "from")
}

// ADD unpacks archives, and copies all else, whatever it begins like.
func TestAddRefusesNoFile(t *testing.T) {
	s := newSite(t).withBase()
	b := archive(t, tar.Header{Name: "file", Uname: "in the archive\n"})
	var archived, text, gz bytes.Buffer
	for out, content := range map[*bytes.Buffer][]byte{&archived: b, &text: []byte("text")} {
		w, err := xz.NewWriter(out)
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w := gzip.NewWriter(&gz)
	w.Write([]byte("text"))
	w.Close()
	files := map[string]string{"tar.xz": archived.String(), "t.xz": text.String(), "cut.xz": text.String()[:20], "head.xz": "\xfd7zXZ\x00", "t.gz": gz.String(),
		"no.gz": "\x1f\x8bno gzip", "no.zst": "\x28\xb5\x2f\xfdno zstd", "no.bz2": "BZh9no bzip2", "empty": "", "zeros": strings.Repeat("\x00", 10240)}
	dockerfile := "FROM base\nADD tar.xz /xz/\nRUN test \"$(cat /xz/file)\" = \"in the archive\"\n"
	for name := range files {
		if name != "tar.xz" {
			dockerfile += "ADD " + name + " /x/\nCOPY " + name + " /y/\n"
		}
	}
	files["Dockerfile"] = dockerfile + "RUN diff -r /x /y && test $(ls /x | wc -l) = 9"
	s.files("ctx", files)
	s.mustBuild("ctx")
}
