package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var _ = testenv.Long(TestKilledBuilders)

const several = `FROM base AS a
ENV SITE=%[1]s
ARG N=0
RUN mkdir /a && i=0; while [ $i -lt 50 ]; do echo $i >/a/$i; i=$((i+1)); done
RUN sleep 0.05; echo more >/a/more
FROM base AS b
ENV SITE=%[1]s
COPY data /b/
ARG N=0
RUN --mount=type=cache,target=/c sleep 0.05 && echo b >/b/more && echo >>/c/f
FROM a
COPY --from=b /b /b
RUN rm -r /a/1* && sleep 0.05 && echo end >/end
`

// Builders that are killed leave a cache that the next one can use, and nothing else once that has run.
func TestKilledBuilders(t *testing.T) {
	s := newSite(t).withBase()
	s.env = []string{"SITE=" + s.dir}
	s.files("ctx", map[string]string{"Dockerfile": fmt.Sprintf(several, s.dir), "data": strings.Repeat("data", 1<<18)})
	start := time.Now()
	want, _ := s.mustBuild("-no-cache", "ctx")
	whole := time.Since(start)
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	killed, times := 0, testenv.Times(100, 20)
	for tries := 0; killed < times; tries++ {
		if tries > 10*times {
			t.Fatalf("only %d of %d were killed in time", killed, tries)
		}
		// Each twice: what the first has not finished, the second finds half in the cache.
		c := s.command("build", "-cache", s.cache, "-build-arg", fmt.Sprint("N=", 1+tries/2), "ctx")
		var log bytes.Buffer
		c.Stderr = &log
		begin := time.Now()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole))), func() { c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGKILL {
			killed++
		} else if err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		} else if tries%2 == 0 {
			whole = time.Since(begin) // other loads are on the machine now
		}
		testenv.Eventually(t, "nothing of it runs", func() bool { return len(s.processes()) == 0 })
	}
	t.Logf("%d builders were killed", killed)
	for range 2 {
		if got, progress := s.mustBuild("ctx"); got != want {
			t.Errorf("the image is %s, and was %s\n%s", got, want, progress)
		}
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// begun starts a build and waits until its RUN says so.
func (s *site) begun(args ...string) (*exec.Cmd, *bytes.Buffer, chan error) {
	s.Helper()
	c := s.command(append([]string{"build", "-cache", s.cache}, args...)...)
	r, w, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	c.Stderr = w
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as at a terminal
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	w.Close()
	log, ended := new(bytes.Buffer), make(chan error, 1)
	in := bufio.NewReader(io.TeeReader(r, log))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			c.Wait()
			s.Fatalf("the RUN did not begin\n%s", log)
		}
		if strings.Contains(line, "it has begun") && !strings.Contains(line, "RUN") {
			break
		}
	}
	go func() {
		io.Copy(io.Discard, in)
		r.Close()
		ended <- c.Wait()
	}()
	return c, log, ended
}

func TestInterruptedBuild(t *testing.T) {
	s := newSite(t).withBase()
	s.env = []string{"SITE=" + s.dir}
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nENV SITE=" + s.dir + "\nRUN (setsid sleep 1000 &); echo it has begun; sleep 1000"})
	for _, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		c, log, ended := s.begun("ctx")
		if err := unix.Kill(-c.Process.Pid, signal); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 130 || !strings.Contains(log.String(), "builder: interrupted") {
				t.Errorf("%v: %v\n%s", signal, err, log)
			}
		case <-time.After(testenv.Bound(10 * time.Second)):
			t.Errorf("%v: it goes on", signal)
			c.Process.Kill()
			<-ended
		}
		if left := s.leftovers(); len(left) > 0 {
			t.Errorf("%v leaves %q", signal, left)
		}
	}
}

func TestPruneWaitsForNobody(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN echo it has begun; sleep 1000"})
	c, _, ended := s.begun("ctx")
	out, err := s.command("prune", "-cache", s.cache).CombinedOutput()
	if err == nil || !strings.Contains(string(out), errInUse.Error()) {
		t.Errorf("%v: %s", err, out)
	}
	unix.Kill(c.Process.Pid, unix.SIGTERM)
	<-ended
	if out, err := s.command("du", "-cache", s.cache).CombinedOutput(); err != nil || strings.Count(string(out), " steps/") < 4 {
		t.Errorf("du: %v\n%s", err, out)
	}
	if out, err := s.command("prune", "-cache", s.cache).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(s.cache, "ids-*", "*", "*")); len(left) > 0 {
		t.Errorf("prune leaves %q", left)
	}
	if out, err := s.run("base"); err == nil {
		t.Errorf("base is still there: %s", out)
	}
}

func TestEightBuildsAtOnce(t *testing.T) {
	s := newSite(t).withBase()
	s.env = []string{"SITE=" + s.dir}
	s.files("ctx", map[string]string{"Dockerfile": fmt.Sprintf(several, s.dir), "data": "data"})
	var group sync.WaitGroup
	digests := make([]string, 8)
	for i := range digests {
		group.Go(func() {
			digest, progress, err := s.build("-o", filepath.Join(s.dir, fmt.Sprint("out", i)), "ctx")
			if err != nil {
				t.Errorf("%v\n%s", err, progress)
			}
			digests[i] = digest
		})
	}
	group.Wait()
	for _, d := range digests {
		if d != digests[0] || d == "" {
			t.Errorf("the images are %q", digests)
			break
		}
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Stages that do not need each other run at once: each waits for the other.
func TestIndependentStagesRunTogether(t *testing.T) {
	s := newSite(t).withBase()
	const wait = `i=0; while [ ! -e /c/%s ]; do i=$((i+1)); [ $i -lt 1000 ] || exit 9; sleep 0.01; done`
	s.files("ctx", map[string]string{"Dockerfile": "FROM base AS a\nRUN --mount=type=cache,target=/c touch /c/a; " + fmt.Sprintf(wait, "b") +
		"\nFROM base AS b\nRUN --mount=type=cache,target=/c touch /c/b; " + fmt.Sprintf(wait, "a") +
		"\nFROM base AS unused\nRUN exit 1\nFROM scratch\nCOPY --from=a /etc/group /a\nCOPY --from=b /etc/group /b"})
	s.mustBuild("ctx")
}

func TestRegistry(t *testing.T) {
	s := newSite(t).withBase()
	server := httptest.NewServer(registry.New(registry.Logger(quiet)))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/some/image:1"
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN echo pushed >/file"})
	pushed, _ := s.mustBuild("-t", ref, "-push", "ctx")

	other := newSite(t)
	other.files("ctx", map[string]string{"Dockerfile": "FROM " + ref + "\nCMD [\"cat\", \"/file\"]"})
	other.mustBuild("-t", "pulled", "ctx")
	if out, err := other.run("pulled"); err != nil || out != "pushed\n" {
		t.Errorf("%v: %s", err, out)
	}
	other.files("same", map[string]string{"Dockerfile": "FROM " + ref})
	if digest, _ := other.mustBuild("same"); digest != pushed {
		t.Errorf("what was pulled is %s, and what was pushed %s", digest, pushed)
	}
}

func TestArchiveOfAnImage(t *testing.T) {
	tools(t, "skopeo")
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN echo 1 >/1"})
	file := filepath.Join(s.dir, "image.tar")
	digest, _ := s.mustBuild("-t", "named", "-o", file, "ctx")
	out, err := exec.Command("skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+file+":named").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != digest {
		t.Errorf("%v: %s", err, out)
	}
}

// A layout is read again, layer by layer, as an image of others.
func TestFromALayout(t *testing.T) {
	s := newSite(t).withBase()
	out := filepath.Join(s.dir, "ctx", "layout")
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN rm /etc/group && mkdir -p /o/d && touch /o/d/f", "layout": ""})
	os.Remove(out)
	first, _ := s.mustBuild("-t", "l", "-o", out, "ctx")
	s.files("ctx2", map[string]string{"Dockerfile": "FROM oci:layout:l\nRUN test ! -e /etc/group && rm -r /o/d && mkdir /o/d"})
	if err := os.Rename(out, filepath.Join(s.dir, "ctx2", "layout")); err != nil {
		t.Fatal(err)
	}
	s.mustBuild("-t", "again", "ctx2")
	if got, err := s.run("again", "find", "/o"); err != nil || got != "/o\n/o/d\n" {
		t.Errorf("%v: %s", err, got)
	}
	if got, err := s.run("oci:"+filepath.Join(s.dir, "ctx2", "layout")+":l", "find", "/o"); err != nil || got != "/o\n/o/d\n/o/d/f\n" {
		t.Errorf("%v: %s", err, got)
	}
	s.files("ctx3", map[string]string{"Dockerfile": "FROM other"})
	if digest, _ := s.mustBuild("-build-context", "other=oci:"+filepath.Join(s.dir, "ctx2", "layout"), "ctx3"); digest != first {
		t.Errorf("the image is %s, and was %s", digest, first)
	}
}

func TestRunPassesOn(t *testing.T) {
	s := newSite(t).withBase()
	if out, err := s.run("base", "sh", "-c", "echo out; exit 7"); out != "out\n" || err == nil || err.Error() != "exit status 7" {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.run("base", "/none"); err == nil || err.Error() != "exit status 127" {
		t.Errorf("%v: %s", err, out)
	}
	c := s.command("run", "-cache", s.cache, "base", "sh", "-c", "trap 'echo trapped; exit 3' TERM; echo begun; while :; do sleep 0.01; done")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	if line, err := in.ReadString('\n'); line != "begun\n" {
		t.Errorf("%q, %v", line, err)
	}
	c.Process.Signal(unix.SIGTERM)
	rest, _ := io.ReadAll(in)
	if err := c.Wait(); err == nil || err.Error() != "exit status 3" || string(rest) != "trapped\n" {
		t.Errorf("%v, %q", err, rest)
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
