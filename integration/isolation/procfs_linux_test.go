package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// Whoever is root inside chooses what is on /proc there. This process, with a thread inside, asks
// its own procfs only. As of reports about peers: CVE-2019-16884 and CVE-2019-19921 (runc and a fake
// /proc), and CVE-2022-0811's kind, writes that are led elsewhere.

// fakes are what root inside makes of /proc: scripts to be run there.
var fakes = map[string]string{
	"honest":  `:`,
	"nothing": `umount /proc || mount -t tmpfs tmpfs /proc`,
	"links to its own": `mkdir -p /tmp/p && mount --bind /proc /tmp/p && mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/fd &&
		for d in thread-self self 1; do mkdir -p /proc/$d/ns; for t in mnt net uts user pid; do ln -s /tmp/p/1/ns/$t /proc/$d/ns/$t; done; done`,
	"fifos": `mount -t tmpfs tmpfs /proc && mkdir -p /proc/sys/user /proc/thread-self/fdinfo /proc/self/fd && mkfifo /proc/thread-self/mountinfo /proc/thread-self/status &&
		for d in thread-self self; do mkdir -p /proc/$d/ns /proc/$d/fd /proc/$d/fdinfo; for t in mnt net uts user pid; do mkfifo /proc/$d/ns/$t; done; done &&
		for n in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do for d in self thread-self; do mkfifo /proc/$d/fd/$n /proc/$d/fdinfo/$n; done; done`,
	"a fifo alone": `mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/fd /proc/thread-self && mkfifo /proc/thread-self/status`,
	"plain files":  `mount -t tmpfs tmpfs /proc && for d in thread-self self; do mkdir -p /proc/$d/ns /proc/$d/fd; for t in mnt net uts user pid; do echo >/proc/$d/ns/$t; done; done`,
}

// insideFake does everything that asks procfs, with a thread inside, and prints a line for what is wrong.
func insideFake() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	pid, _ := strconv.Atoi(os.Args[1])
	wrong := func(what string, err error) {
		if err != nil {
			fmt.Printf("WRONG: %s: %v\n", what, err)
		}
	}
	box, err := gonso.FromPID(pid, gonso.Mount)
	if err != nil {
		fmt.Println("WRONG:", err)
		return
	}
	theirs, _ := box.ID(gonso.Mount)
	new, err := box.Unshare(gonso.Mount)
	wrong("Unshare", err)
	if err == nil {
		id, err := new.ID(gonso.Mount)
		wrong("ID", err)
		if id == theirs {
			wrong("Unshare", errors.New("it is the box's own"))
		}
		f, err := new.File(gonso.Mount)
		wrong("File", err)
		if typ, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNS {
			wrong("Unshare", fmt.Errorf("it is of type %#x, %v", typ, err))
		}
		f.Close()
		home, _ := gonso.Current(gonso.Mount)
		if h, _ := home.ID(gonso.Mount); h == id {
			wrong("Unshare", errors.New("it is the host's own"))
		}
		home.Close()
		new.Close()
	}
	net, err := gonso.Unshare(gonso.Net)
	wrong("Unshare", err)
	netID, _ := net.ID(gonso.Net)
	err = box.Run(func() error {
		s, err := gonso.Current(gonso.Mount, gonso.Net)
		wrong("Current inside", err)
		if err == nil {
			if id, _ := s.ID(gonso.Mount); id != theirs {
				wrong("Current inside", fmt.Errorf("%v, not %v", id, theirs))
			}
			s.Close()
		}
		s, err = gonso.FromPID(os.Getpid(), gonso.Net)
		wrong("FromPID inside", err)
		if err == nil {
			if id, _ := s.ID(gonso.Net); id == netID {
				wrong("FromPID inside", errors.New("it is another's"))
			}
			s.Close()
		}
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		wrong("pidfd", err)
		pidfd := os.NewFile(uintptr(fd), "pidfd")
		s, err = gonso.FromPIDFD(pidfd, gonso.Net)
		wrong("FromPIDFD inside", err)
		if err == nil {
			s.Close()
		}
		pidfd.Close()
		wrong("Pin inside", net.PinNS(gonso.Net, "/work/pinned"))
		s, err = gonso.Open("/work/pinned")
		wrong("Open inside", err)
		if err == nil {
			if id, _ := s.ID(gonso.Net); id != netID {
				wrong("Open inside", fmt.Errorf("%v, not %v", id, netID))
			}
			s.Close()
		}
		wrong("Unpin inside", gonso.Unpin("/work/pinned"))
		if _, err := os.Lstat("/work/pinned"); err == nil {
			wrong("Unpin inside", errors.New("it is there still"))
		}
		if err := net.PinNS(gonso.Net, "/nowhere/x"); err == nil {
			wrong("Pin", errors.New("nowhere is somewhere"))
		}
		if err := gonso.Unpin("/work"); err == nil {
			wrong("Unpin", errors.New("/work was no pin"))
		}
		p, err := gonso.Unshare(gonso.PID) // which asks what this thread is
		wrong("Unshare(PID) inside", err)
		if err == nil {
			p.Close()
		}
		u, err := gonso.Unshare(gonso.User)
		wrong("Unshare(User) inside", err)
		if err == nil {
			uid, _, err := u.IDMaps()
			wrong("IDMaps inside", err)
			if len(uid) != 1 || uid[0].ContainerID != 0 {
				wrong("IDMaps inside", fmt.Errorf("%v", uid))
			}
			u.Close()
		}
		return nil
	})
	wrong("Run", err)
	wrong("close", errors.Join(net.Close(), box.Close()))
	fmt.Println("done")
}

// launchInside starts programs by a thread that is inside.
func launchInside() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	pid, _ := strconv.Atoi(os.Args[1])
	box, err := gonso.FromPID(pid, gonso.Mount)
	if err != nil {
		fmt.Println("WRONG:", err)
		return
	}
	uts, err := gonso.Unshare(gonso.UTS)
	if err != nil {
		fmt.Println("WRONG:", err)
		return
	}
	err = box.Run(func() error {
		out, err := uts.Command(context.Background(), "sh", "-c", "echo outside").CombinedOutput()
		if err != nil || string(out) != "outside\n" {
			fmt.Printf("WRONG: Command: %q, %v\n", out, err)
		}
		if _, err := pidIn.Do(context.Background(), uts, struct{}{}, gonso.InProcess(), gonso.Isolated()); err != nil {
			fmt.Println("WRONG: isolated:", err)
		}
		if u, err := gonso.Unshare(gonso.User | gonso.Net); err != nil {
			fmt.Println("WRONG: Unshare:", err)
		} else {
			u.Close()
		}
		c := uts.Command(context.Background(), "true")
		c.Pdeathsig = syscall.SIGKILL
		if err := c.Run(); err == nil || !strings.Contains(err.Error(), "Pdeathsig") {
			fmt.Println("WRONG: Pdeathsig:", err)
		}
		self := uts.Self(context.Background())
		self.Env = append(os.Environ(), testenv.ProgramEnv+"=says hello")
		if out, err := self.Output(); err != nil || string(out) != "hello\n" {
			fmt.Printf("WRONG: Self: %q, %v\n", out, err)
		}
		return nil
	})
	if err != nil {
		fmt.Println("WRONG:", err)
	}
	box.Close()
	uts.Close()
	fmt.Println("done")
}

var pidIn = gonso.Register("procfs.pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

func init() {
	testenv.Program("inside a fake proc", insideFake)
	testenv.Program("launches inside", launchInside)
	testenv.Program("says hello", func() { fmt.Println("hello") })
}

// runBounded is for programs that might hang.
func runBounded(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	bounded := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	bounded.Env, bounded.SysProcAttr = c.Env, c.SysProcAttr
	bounded.WaitDelay = time.Second
	out, err := bounded.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%.4000s", err, out)
	}
	return string(out)
}

func TestFakeProcInsideCannotBeBelieved(t *testing.T) {
	for _, k := range some(uns, hostpid) {
		for name, script := range fakes {
			for _, debug := range []string{"", "threads"} {
				t.Run(string(k)+"/"+name+"/"+debug, func(t *testing.T) {
					b := newBox(t, k)
					b.sh(t, script)
					c := b.program(t, "inside a fake proc", strconv.Itoa(b.pid))
					c.Env = append(c.Env, "GONSO_DEBUG="+debug)
					if out := runBounded(t, c); out != "done\n" {
						t.Errorf("%.4000s", out)
					}
				})
			}
		}
	}
}

// What a child of ours executes is found by a path, /proc/self/fd/5, and by /dev/null, in the mnt
// namespace of the thread that starts it.
func TestRootInsideCannotBeWhatIsLaunched(t *testing.T) {
	for name, script := range map[string]string{
		"a program": `mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/fd && for n in 3 4 5 6 7 8; do
			printf '#!/bin/sh\necho taken >/work/taken\n' >/proc/self/fd/$n; chmod 755 /proc/self/fd/$n; done`,
		"nothing": `mount -t tmpfs tmpfs /proc`,
		"fifos": `mount -t tmpfs tmpfs /proc && mount -t tmpfs tmpfs /dev && mkfifo /dev/null && mkdir -p /proc/self/fd && for n in 3 4 5 6 7 8; do
			mkfifo /proc/self/fd/$n; chmod 755 /proc/self/fd/$n; done`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, uns)
			if err := os.Symlink("busybox", filepath.Join(b.rootfs, "bin/printf")); err != nil {
				t.Fatal(err)
			}
			for _, applet := range []string{"rm", "mkfifo", "chmod"} {
				if err := os.Symlink("busybox", filepath.Join(b.rootfs, "bin", applet)); err != nil && !errors.Is(err, os.ErrExist) {
					t.Fatal(err)
				}
			}
			b.sh(t, script)
			if out := runBounded(t, b.program(t, "launches inside", strconv.Itoa(b.pid))); out != "done\n" {
				t.Errorf("%.4000s", out)
			}
			if _, err := os.Stat(filepath.Join(b.rootfs, "work/taken")); err == nil {
				t.Error("the box's program was executed")
			}
		})
	}
}

var (
	_ = testenv.Long(TestFakeProcInsideCannotBeBelieved)
)
