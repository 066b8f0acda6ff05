package main

import (
	"archive/tar"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prints builds, and says what has to be among what the RUNs print.
func (s *site) prints(dockerfile string, wants ...string) {
	s.Helper()
	s.files("ctx", map[string]string{"Dockerfile": dockerfile})
	_, progress := s.mustBuild("-no-cache", "ctx")
	for _, want := range wants {
		if !strings.Contains(progress, " "+want+"\n") {
			s.Errorf("nothing prints %q\n%s", want, progress)
		}
	}
}

// Several sources can have files of one name, and files that are links to each other: neither gets the content of another.
func TestSourcesDoNotMixHardLinks(t *testing.T) {
	s := newSite(t).withBase()
	ctx := s.files("ctx", map[string]string{"a/x": "first", "b/x": "second", "c/.keep": "", "f.txt": "named twice"})
	if err := errors.Join(os.Link(filepath.Join(ctx, "a/x"), filepath.Join(ctx, "c/y")), os.Link(filepath.Join(ctx, "f.txt"), filepath.Join(ctx, "g"))); err != nil {
		t.Fatal(err)
	}
	s.prints("FROM base AS one\nCOPY a b c /d/\nCOPY f.txt *.txt /d/\nRUN cd /d && echo $(cat x) $(cat y) $(cat f.txt)\n"+
		"FROM base\nCOPY --from=one /d/f.txt /d/*.txt /d/\nRUN echo again $(cat /d/f.txt)", "second first named twice", "again named twice")
}

// Images of others, and of this builder, have the same layer several times.
func TestLayersThatAreThereSeveralTimes(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"f": "copied"})
	out := filepath.Join(s.dir, "ctx", "layout")
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY f /f\nRUN echo changed >/f\nCOPY f /f"})
	s.mustBuild("-o", out, "ctx")
	s.prints("FROM oci:layout\nRUN cat /f", "copied")

	a, b := archive(t, tar.Header{Name: "a", Uname: "a"}, tar.Header{Name: "b", Uname: "b"}), archive(t, tar.Header{Name: ".wh.a"}, tar.Header{Name: "b", Uname: "B"})
	none := archive(t)
	for name, c := range map[string]struct {
		layers [][]byte
		want   string
	}{
		"back":  {[][]byte{a, b, a}, "/x/a:a /x/b:b"},
		"gone":  {[][]byte{a, b, a, b}, "/x/b:B"},
		"twice": {[][]byte{a, a}, "/x/a:a /x/b:b"},
		"empty": {[][]byte{none, none, a, none}, "/x/a:a /x/b:b"},
	} {
		s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY --from=other / /x/\nRUN echo it has $(grep -r . /x | sort)"})
		_, progress := s.mustBuild("-no-cache", "-build-context", "other=oci:"+s.layoutOf(name, c.layers...), "ctx")
		if !strings.Contains(progress, " it has "+c.want+"\n") {
			t.Errorf("%s: not %q\n%s", name, c.want, progress)
		}
	}
}

// What a layer says is gone stays gone, also where the same layer has something new of that name, in any order.
func TestWhiteoutsHideAllLayersBelow(t *testing.T) {
	s := newSite(t).withBase()
	dir := func(name string) tar.Header { return tar.Header{Name: name + "/", Typeflag: tar.TypeDir} }
	file := func(name string) tar.Header { return tar.Header{Name: name, Uname: name} }
	below := archive(t, dir("d"), file("d/old"), dir("d/sub"), file("d/sub/old"), file("f"), file("k"))
	const kept = " /x/f /x/k"
	for name, c := range map[string]struct {
		layer []tar.Header
		want  string
	}{
		"whiteout, directory":            {[]tar.Header{file(".wh.d"), dir("d"), file("d/new")}, "/x/d/new" + kept},
		"directory, whiteout":            {[]tar.Header{dir("d"), file("d/new"), file(".wh.d")}, "/x/d/new" + kept},
		"whiteout, directory of a file":  {[]tar.Header{file(".wh.d"), file("d/new")}, "/x/d/new" + kept},
		"directory of a file, whiteout":  {[]tar.Header{file("d/sub/new"), file("d/.wh.sub")}, "/x/d/old /x/d/sub/new" + kept},
		"whiteout, deeper":               {[]tar.Header{file(".wh.d"), file("d/sub/new")}, "/x/d/sub/new" + kept},
		"whiteout, file":                 {[]tar.Header{file(".wh.d"), file("d")}, "/x/d" + kept},
		"file, directory":                {[]tar.Header{file("d"), dir("d"), file("d/new")}, "/x/d/new" + kept},
		"whiteout of a file, directory":  {[]tar.Header{file(".wh.f"), dir("f"), file("f/new")}, "/x/d/old /x/d/sub/old /x/f/new /x/k"},
		"opaque":                         {[]tar.Header{file("d/.wh..wh..opq"), file("d/new")}, "/x/d/new" + kept},
		"opaque, and a whiteout in it":   {[]tar.Header{file("d/.wh..wh..opq"), file("d/.wh.sub"), file("d/sub/new")}, "/x/d/sub/new" + kept},
		"the root is opaque":             {[]tar.Header{file(".wh..wh..opq"), file("new")}, "/x/new"},
		"the root is opaque, afterwards": {[]tar.Header{file("d/new"), file(".wh..wh..opq")}, "/x/d/new"},
	} {
		s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY --from=other / /x/\nRUN echo it has $(find /x -type f | sort)"})
		_, progress := s.mustBuild("-no-cache", "-build-context", "other=oci:"+s.layoutOf(name, below, archive(t, c.layer...)), "ctx")
		if !strings.Contains(progress, " it has "+c.want+"\n") {
			t.Errorf("%s: not %q\n%s", name, c.want, progress)
		}
	}
}

// Mode and owner of the root directory are in the image, whoever builds; and what root inside may not read can be removed.
func TestRootDirectoryBelongsToTheImage(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN chmod 700 / && chown app:users /\nRUN echo $(stat -c '%a %u %g' /) >/file\nCMD cat /file"})
	out := filepath.Join(s.dir, "out")
	s.mustBuild("-t", "closed", "-o", out, "ctx")
	for _, image := range []string{"closed", "oci:" + out} {
		if got, err := s.run(image, "sh", "-c", "cat /file; stat -c '%a %u %g' /"); err != nil || got != "700 1000 100\n700 1000 100\n" {
			t.Errorf("%s: %v: %s", image, err, got)
		}
	}
	s.files("open", map[string]string{"Dockerfile": "FROM closed\nRUN chmod 755 /\nRUN --mount=type=cache,target=/c chmod 0 /c && chown app /c"})
	s.mustBuild("-t", "open", "open")
	if got, err := s.run("open", "stat", "-c", "%a %u %g", "/"); err != nil || got != "755 1000 100\n" {
		t.Errorf("%v: %s", err, got)
	}
	if got, err := s.command("du", "-cache", s.cache).CombinedOutput(); err != nil {
		t.Errorf("du: %v: %s", err, got)
	}
}

// What the context has of times differs with each checkout. What an image has is the same each time, and stays.
func TestTimesOfWhatIsCopied(t *testing.T) {
	s := newSite(t).withBase()
	s.env = []string{"SOURCE_DATE_EPOCH=1700000000"}
	ctx := s.files("ctx", map[string]string{"f": "", "old.tar": string(archive(t, tar.Header{Name: "old", ModTime: time.Unix(1e9, 0)}))})
	if err := os.Chtimes(filepath.Join(ctx, "f"), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	s.prints("FROM base AS one\nCOPY f /f\nADD old.tar /\nRUN touch -d @1100000000 /touched && touch /now\n"+
		"FROM base\nCOPY --from=one /f /old /touched /now /\nRUN echo $(stat -c %Y /f /old /touched /now)", "1700000000 1000000000 1100000000 1700000000")
}

// A RUN, and run, begin in a directory that the image has lost.
func TestWorkdirThatIsGone(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nWORKDIR /a/b\nRUN rm -r /a\nRUN echo in $(pwd)\nRUN rm -r /a"})
	_, progress := s.mustBuild("-t", "lost", "ctx")
	if !strings.Contains(progress, " in /a/b\n") {
		t.Error(progress)
	}
	if got, err := s.run("lost", "pwd"); err != nil || got != "/a/b\n" {
		t.Errorf("%v: %s", err, got)
	}
	s.files("file", map[string]string{"Dockerfile": "FROM lost\nUSER root\nWORKDIR /\nRUN echo >/a\nWORKDIR /b\nRUN rm -r /b && ln -s /a /b\nRUN pwd"})
	s.fails("file/Dockerfile:7: RUN: WORKDIR /b: ", "file")
}

func TestArchivesOfGitAndOfTar(t *testing.T) {
	tools(t, "tar")
	s := newSite(t).withBase()
	ctx := s.files("ctx", map[string]string{"git.tar": string(archive(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}},
		tar.Header{Name: "from-git", Uname: "git"}))})
	sparse, err := os.Create(filepath.Join(ctx, "sparse"))
	if err == nil {
		_, err = sparse.WriteAt([]byte("the end"), 1<<20)
		err = errors.Join(err, sparse.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		if out, err := exec.Command("tar", "-C", ctx, "-S", "--format="+format, "-cf", filepath.Join(ctx, format+".tar"), "sparse").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.prints("FROM base\nADD git.tar /git/\nADD gnu.tar /gnu/\nADD posix.tar /posix/\n"+
		"RUN echo $(ls /git) $(tail -c 7 /gnu/sparse) $(cmp /gnu/sparse /posix/sparse) $(stat -c %s /gnu/sparse)", "from-git the end 1048583")
}

func TestSocketIsNotCopied(t *testing.T) {
	s := newSite(t)
	ctx := s.files("ctx", map[string]string{"Dockerfile": "FROM scratch\nCOPY sock /x"})
	l, err := net.Listen("unix", filepath.Join(ctx, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.fails("ctx/Dockerfile:2: COPY: sock is a socket, which means nothing without its process", "ctx")
}

// What is wrong with a source is all that is said.
func TestUnreadableSource(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.files("ctx", map[string]string{"Dockerfile": "FROM scratch\nCOPY uevent_seqnum /"}), "Dockerfile")
	s.fails("builder: "+file+":2: COPY: /uevent_seqnum became shorter while it was read\n", "-f", file, "/sys/kernel") // it has less than stat says
}

// The /etc/hosts of the builder is not that of the image.
func TestHostsOfTheBuilderStayOutOfTheImage(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"hosts": "127.0.0.1 own\n"})
	s.prints("FROM base AS one\nRUN echo 127.0.0.1 other >>/etc/hosts && echo $(wc -l </etc/hosts) lines\n"+
		"FROM base\nCOPY --from=one /etc /one\nRUN test ! -e /one/hosts\n"+
		"COPY hosts /etc/hosts\nRUN echo 127.0.0.1 other >>/etc/hosts\nRUN echo $(cat /etc/hosts)", "3 lines", "127.0.0.1 own 127.0.0.1 other")
}
