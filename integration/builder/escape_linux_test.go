package main

import (
	"archive/tar"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// A hostile Dockerfile does what it likes, and the host is as it was.
func TestEscapes(t *testing.T) {
	s := newSite(t).withBase()
	s.env = []string{"SITE=" + s.dir, "SECRET=of the builder"}
	victim := exec.Command("sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.Process.Kill(); victim.Wait() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	host := filepath.Join(s.dir, "host")
	if err := os.WriteFile(host, []byte("untouched"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := hostState(t)

	for name, c := range map[string]struct {
		lines string // after FROM base
		args  []string
		want  string // of the progress; empty is that it goes well
	}{
		"COPY through a link":        {lines: "RUN ln -s " + s.dir + " /evil\nCOPY data /evil/copied\nRUN test -f " + s.dir + "/copied"},
		"COPY through a link of ..":  {lines: "RUN mkdir /a && ln -s ../../../../../../.." + s.dir + " /a/evil\nCOPY data /a/evil/copied"},
		"COPY over a link":           {lines: "RUN ln -s " + host + " /evil\nCOPY data /evil"},
		"WORKDIR through a link":     {lines: "RUN ln -s " + s.dir + " /evil\nWORKDIR /evil/made"},
		"writing to a path outside":  {lines: "RUN test ! -e " + s.dir + " && mkdir -p " + s.dir + " && echo changed >" + host},
		"killing pid 1":              {lines: "RUN kill -9 1; kill -TERM 1; test -d /proc/1 && ls /proc"},
		"killing everybody":          {lines: "RUN sleep 1000 & kill -9 -1; wait $!; test $? = 137"},
		"killing the host's":         {lines: fmt.Sprintf("RUN ! kill -9 %d %d 2>/dev/null", victim.Process.Pid, os.Getpid())},
		"leaving a daemon":           {lines: "RUN (setsid sh -c 'trap \"\" TERM HUP; while :; do echo >>/log; done' &) ; true\nRUN ! ps | grep -q '[l]og'"},
		"filling /dev/shm":           {lines: "RUN ! dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null && test $(stat -c %s /dev/shm/x) -le 67108864"},
		"forking without end":        {lines: "RUN i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done", args: []string{"-pids", "40"}, want: "can't fork"},
		"the builder's environment":  {lines: "RUN ! grep -l SECRET= /proc/[0-9]*/environ 2>/dev/null && ! env | grep -q SECRET"},
		"roots of processes":         {lines: "RUN for p in /proc/[0-9]*; do test ! -e $p/root" + s.dir + " || exit 1; done; test $(ls -d /proc/[0-9]* | wc -l) -le 8 && ! ls /proc/1/root/ 2>/dev/null && ! cat /proc/1/environ 2>/dev/null"},
		"the terminal":               {lines: "RUN ! (: </dev/tty) 2>/dev/null && test ! -e /dev/console"},
		"standard input":             {lines: "RUN test -z \"$(cat)\""},
		"open descriptors":           {lines: "RUN test \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 '"},
		"making a device":            {lines: "RUN ! mknod /tmp/sda b 8 0 2>/dev/null"},
		"mounting":                   {lines: "RUN ! mount -t tmpfs none /tmp 2>/dev/null && ! mount -o remount,rw /sys 2>/dev/null && ! umount /proc 2>/dev/null"},
		"a new user namespace":       {lines: "RUN ! unshare -Urm mount -t tmpfs none /proc/sys 2>/dev/null || ! unshare -Urm sh -c ': >>/proc/sys/kernel/core_pattern' 2>/dev/null"},
		"joining other namespaces":   {lines: "RUN ! nsenter -t 1 -m true 2>/dev/null"},
		"writing to the kernel":      {lines: "RUN ! sh -c ': >>/proc/sys/kernel/core_pattern' 2>/dev/null && ! sh -c ': >>/sys/kernel/uevent_helper' 2>/dev/null"},
		"leaving a chroot":           {lines: "RUN mkdir /c && test ! -e /../../../.." + s.dir},
		"the host's network":         {lines: "RUN ! nc -w 1 127.0.0.1 " + port + " </dev/null 2>/dev/null && test $(grep -c : /proc/net/dev) -ge 1"},
		"a setuid program":           {lines: "RUN cp /bin/busybox /bin/root && chmod 4755 /bin/root"},
		"a fifo for passwd":          {lines: "RUN rm /etc/passwd && mkfifo /etc/passwd\nUSER app\nRUN id", want: "/etc/passwd of the image is no regular file"},
		"a link for passwd":          {lines: "RUN rm /etc/passwd && ln -s /proc/1/environ /etc/passwd\nUSER app\nRUN id", want: "unable to find user app"},
		"a link for the cache mount": {lines: "RUN ln -s / /c\nRUN --mount=type=cache,target=/c/tmp true", want: "the image has a link"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache, env: s.env}
			s.files(name, map[string]string{"Dockerfile": "FROM base\n" + c.lines, "data": "copied"})
			_, progress, err := s.build(append(c.args, "-timeout", "60s", name)...)
			if (err != nil) != (c.want != "") && c.want != "can't fork" || !strings.Contains(progress, c.want) {
				t.Errorf("%v, not %q\n%s", err, c.want, progress)
			}
			if left := s.leftovers(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if b, err := os.ReadFile(host); err != nil || string(b) != "untouched" {
				t.Errorf("a file of the host is %q, %v", b, err)
			}
			for _, made := range []string{"copied", "made"} {
				if exists(filepath.Join(s.dir, made)) {
					t.Errorf("%s was made on the host", made)
				}
			}
		})
	}
	if err := victim.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("a process of the host: %v", err)
	}
	if after := hostState(t); after != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, after)
	}
}

func hostState(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Nodename[:]) + "\n" + string(pattern) + string(mounts)
}

// Images of others can have anything in the place of what the builder mounts.
func TestHostileImages(t *testing.T) {
	s := newSite(t)
	dir := func(name string) tar.Header { return tar.Header{Name: name + "/", Typeflag: tar.TypeDir} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, c := range map[string]struct {
		layer []tar.Header
		want  string
	}{
		"proc":         {[]tar.Header{link("proc", s.dir)}, "the image has a link in /proc"},
		"dev":          {[]tar.Header{link("dev", "/")}, "the image has a link in /dev"},
		"sys":          {[]tar.Header{dir("etc"), link("sys", "etc")}, "the image has a link in /sys"},
		"proc is file": {[]tar.Header{{Name: "proc", Uname: "text"}}, "/proc"},
		"device":       {[]tar.Header{dir("dev"), {Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 0}}, "a device, which may not be made"},
		"whiteout":     {[]tar.Header{{Name: ".wh..."}}, "a whiteout of nothing"},
		"through":      {[]tar.Header{link("out", s.dir), {Name: "out/escaped", Uname: "text"}}, "through/Dockerfile:2: RUN: "}, // inside it is there, and has no shell
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			layout := s.layoutOf(name+".layout", archive(t, c.layer...))
			s.files(name, map[string]string{"Dockerfile": "FROM hostile\nRUN [\"/none\"]"})
			s.fails(c.want, "-build-context", "hostile=oci:"+layout, name)
		})
	}
	if exists(filepath.Join(s.dir, "escaped")) {
		t.Error("something escaped")
	}
}

// Others on the host cannot use what an image has as setuid.
func TestCacheIsNotForOthers(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN chmod 4755 /bin/busybox"})
	s.mustBuild("ctx")
	dirs, err := filepath.Glob(filepath.Join(s.cache, "ids-*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	st, err := os.Stat(dirs[0])
	if err != nil || st.Mode().Perm()&0o007 != 0 {
		t.Errorf("%s is %v, %v", dirs[0], st.Mode(), err)
	}
	if os.Geteuid() != 0 {
		return
	}
	c := exec.Command("/bin/ls", filepath.Join(dirs[0], "steps"))
	c.SysProcAttr = &unixCredential
	if out, err := c.CombinedOutput(); err == nil {
		t.Errorf("another user reads it: %s", out)
	}
	testenv.Eventually(t, "nothing is left", func() bool { return len(s.leftovers()) == 0 })
}
