package gonso

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// A program whose /proc belongs to another pid namespace, or is none, gets the right namespaces or
// an error that says so, never somebody else's: unshare --fork --pid without --mount-proc is enough
// for that (util-linux says so in unshare(1)), and so is a container in a container.

func init() {
	testenv.Program("looks at what it gets", looksAtWhatItGets)
	testenv.Program("says its net namespace", func() {
		fmt.Println(netOf())
		os.Stdin.Read(make([]byte, 1))
	})
}

// netOf is the inode number of the calling thread's net namespace, by a way without /proc.
func netOf() uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(fd)
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err == unix.EPERM {
		return 0 // it takes CAP_NET_ADMIN there
	}
	if err != nil {
		panic(err)
	}
	defer unix.Close(ns)
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		panic(err)
	}
	return st.Ino
}

type insideFacts struct {
	UID, PID int
	Node     string
	Boot     int64 // seconds
	Net      uint64
}

var lookInside = Register("test.procfs.look", func(context.Context, struct{}) (insideFacts, error) {
	var uts unix.Utsname
	var boot unix.Timespec
	err := errors.Join(unix.Uname(&uts), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot))
	return insideFacts{os.Getuid(), os.Getpid(), unix.ByteSliceToString(uts.Nodename[:]), int64(boot.Sec), netOf()}, err
})

// looksAtWhatItGets prints a line for each call: "ok", "typed" or what is wrong.
func looksAtWhatItGets() {
	os.Unsetenv(testenv.ProgramEnv)
	Init()
	// Its own, as unshare --uts has made one. What is copied from it has this name.
	node := fmt.Sprintf("home-%d", time.Now().UnixNano())
	if err := unix.Sethostname([]byte(node)); err != nil {
		fmt.Println("hostname: failed:", err)
	}
	ctx := context.Background()
	check := func(name string, f func() error) {
		err := f()
		switch {
		case err == nil:
			fmt.Println(name + ": ok")
		case strings.Count(err.Error(), "gonso: ") > 1:
			fmt.Println(name+": WRONG: it says gonso more than once:", err)
		case errors.Is(err, ErrForeignProc) && strings.Contains(err.Error(), "a procfs of another pid namespace is mounted on /proc"),
			errors.Is(err, os.ErrNotExist) && strings.Contains(err.Error(), "no procfs is mounted on /proc"):
			fmt.Println(name+": typed:", err)
		default:
			fmt.Println(name+": WRONG:", err)
		}
	}
	look := func(s *Set, err error, want func(insideFacts) bool) error {
		if err != nil {
			return err
		}
		defer s.Close()
		got, err := lookInside.Do(ctx, s, struct{}{}, InProcess())
		if err == nil && !want(got) {
			err = fmt.Errorf("inside of %v: %+v, home is %s, net %d", s, got, node, netOf())
		}
		return err
	}
	isNet := func(s *Set, err error, want uint64) error {
		if err != nil {
			return err
		}
		defer s.Close()
		if id, err := s.ID(Net); err != nil || id.Ino != want {
			return fmt.Errorf("%v, %v; want %d", id, err, want)
		}
		return nil
	}
	home := netOf()
	check("current", func() error { s, err := Current(Net); return isNet(s, err, home) })
	check("net", func() error {
		s, err := Unshare(Net)
		if err != nil {
			return err
		}
		inside := uint64(0)
		if err := s.Run(func() error { inside = netOf(); return nil }); err != nil {
			return err
		}
		if inside == home {
			return errors.New("it is this program's own")
		}
		return isNet(s, nil, inside)
	})
	check("given back", func() error {
		for range 20 {
			got := make(chan uint64)
			go func() { got <- netOf() }()
			if n := <-got; n != home {
				return fmt.Errorf("%d, not %d", n, home)
			}
		}
		return nil
	})
	var boot unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	check("uts of the process backend", func() error {
		s, err := Unshare(UTS|User|Net, IDMaps([]IDMap{{0, uint32(os.Geteuid()), 1}}, []IDMap{{0, uint32(os.Getegid()), 1}}))
		return look(s, err, func(f insideFacts) bool { return f.Node == node && f.UID == 0 && f.Net != home })
	})
	check("time", func() error {
		if !testenv.Has(testenv.TimeNS) {
			return nil
		}
		s, err := Unshare(Time|UTS, ClockOffsets(0, 5000*time.Hour))
		return look(s, err, func(f insideFacts) bool { return f.Node == node && f.Boot > int64(boot.Sec)+4000*3600 })
	})
	check("user", func() error {
		s, err := Unshare(User)
		if err != nil {
			return err
		}
		defer s.Close()
		uid, _, err := s.IDMaps()
		if err == nil && (len(uid) != 1 || uid[0] != (IDMap{0, uint32(os.Geteuid()), 1})) {
			return fmt.Errorf("%v", uid)
		}
		if err != nil {
			return err
		}
		n, err := s.Unshare(User | Net)
		if err != nil {
			return err
		}
		defer n.Close()
		uid, _, err = n.IDMaps()
		if err == nil && len(uid) != 1 {
			err = fmt.Errorf("nested: %v", uid)
		}
		return err
	})
	check("pid", func() error {
		s, err := Unshare(User | PID | Mount)
		return look(s, err, func(f insideFacts) bool { return f.PID > 1 && f.PID < 5 && f.Node == node })
	})
	check("own maps", func() error {
		s, err := Current(User)
		if err != nil {
			return err
		}
		defer s.Close()
		_, _, err = s.IDMaps()
		return err
	})
	child := exec.Command(os.Args[1])
	child.Env = append(os.Environ(), testenv.ProgramEnv+"=says its net namespace")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, _ := child.StdinPipe()
	stdout, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		fmt.Println("child: WRONG:", err)
		return
	}
	var there uint64
	fmt.Fscan(stdout, &there)
	check("child", func() error { s, err := FromPID(child.Process.Pid, Net); return isNet(s, err, there) })
	check("child by pidfd", func() error {
		fd, err := unix.PidfdOpen(child.Process.Pid, 0)
		if err != nil {
			return nil
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		s, err := FromPIDFD(f, Net)
		return isNet(s, err, there)
	})
	stdin.Close()
	child.Wait()
	check("child that has ended", func() error {
		s, err := FromPID(child.Process.Pid, Net)
		if err == nil {
			return fmt.Errorf("it is %v", s)
		}
		if errors.Is(err, unix.ESRCH) {
			err = nil
		}
		return err
	})
	check("self", func() error { s, err := FromPID(os.Getpid(), Net); return isNet(s, err, home) })
	check("thread", func() error {
		tid, end := make(chan int), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			tid <- unix.Gettid()
			<-end
		}()
		defer close(end)
		s, err := FromPID(<-tid, Net)
		return isNet(s, err, home)
	})
	check("files", func() error {
		s, err := Unshare(Net)
		if err != nil {
			return err
		}
		defer s.Close()
		id, _ := s.ID(Net)
		f, err := s.File(Net)
		if err != nil {
			return err
		}
		defer f.Close()
		o, err := FromFiles(f)
		return isNet(o, err, id.Ino)
	})
	check("command", func() error {
		s, err := Unshare(UTS | Net)
		if err != nil {
			return err
		}
		defer s.Close()
		c := s.Command(ctx, os.Args[1])
		c.Env = append(os.Environ(), testenv.ProgramEnv+"=says its net namespace")
		out, err := c.Output()
		if id, _ := s.ID(Net); err == nil && strings.TrimSpace(string(out)) != strconv.FormatUint(id.Ino, 10) {
			err = fmt.Errorf("%s, not %v", out, id)
		}
		return err
	})
	check("loopback", func() error {
		s, err := Unshare(Net, LoopbackUp())
		if err != nil {
			return err
		}
		defer s.Close()
		l, err := s.Listen(ctx, "tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0).String())
		if err == nil {
			l.Close()
		}
		return err
	})
}

// procfsKinds are scripts that end in "$@" with what is on /proc that they are named after. They
// begin as pid 1 of a pid namespace with mnt and uts namespaces of their own, and see the host's /proc.
var procfsKinds = []struct {
	name, script string
	right        bool // everything works
	host         bool // it takes the host's root
}{
	{"an ancestor's", `exec "$@"`, true, false},
	{"a grandparent's", `exec unshare --fork --pid "$@"`, true, false},
	{"its own", `mount -t proc proc /proc && exec "$@"`, true, false},
	{"a tmpfs", `mount -t tmpfs tmpfs /proc && exec "$@"`, false, false},
	{"a tmpfs with files", `T=$D/t; mkdir -p $T && mount -t tmpfs tmpfs $T && mkdir -p $T/self/ns $T/thread-self/ns $T/self/fd $T/1/ns $T/2/ns $T/9/ns &&
		for t in cgroup ipc mnt net pid time user uts; do for d in self thread-self 1 2 9; do : >$T/$d/ns/$t; mount --bind /proc/$PPID/ns/$t $T/$d/ns/$t 2>/dev/null || :; done; done
		cp /bin/true $T/self/fd/5; { mount --move $T /proc || test -e /proc/self/fd/5; } && exec "$@"`, false, false},
	{"nothing", `umount -l /proc && exec "$@"`, false, true},
	{"a descendant's", `mkdir -p $D/p && mkfifo $D/f && { unshare --fork --pid sh -c 'mount -t proc proc '$D'/p && echo >'$D'/f && sleep 600' & } &&
		read x <$D/f && mount --bind $D/p /proc && exec "$@"`, false, false},
	{"a sibling's", `mkdir -p $D/p && mkfifo $D/f && { unshare --fork --pid sh -c 'mount -t proc proc '$D'/p && echo >'$D'/f && sleep 600' & } &&
		read x <$D/f && mount --bind $D/p /proc && exec unshare --fork --pid "$@"`, false, false},
	{"a directory of a process's", `mount --bind /proc/$$/ /proc && exec "$@"`, false, false},
}

func TestProgramCannotGetAnothersNamespacesByItsProc(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"), testenv.UtilLinux("mount"))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	users := map[string][]string{"root of a user namespace": {"--user", "--map-root-user", "--net"}}
	if testenv.Has(testenv.Host) {
		users["root"] = nil
	}
	for user, first := range users {
		for _, k := range procfsKinds {
			if k.host && first != nil {
				continue // /proc is locked there
			}
			t.Run(user+"/"+k.name, func(t *testing.T) {
				args := append(first, "--mount", "--uts", "--fork", "--pid", "--kill-child", "sh", "-ec", k.script, "sh", exe, exe)
				c := exec.Command("unshare", args...)
				c.Env = append(os.Environ(), "D="+t.TempDir(), testenv.ProgramEnv+"=looks at what it gets", "GONSO_DEBUG=")
				c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
				kill := time.AfterFunc(60*time.Second, func() { c.Process.Kill() })
				out, err := c.CombinedOutput()
				kill.Stop()
				t.Logf("\n%s", out)
				if err != nil || !strings.Contains(string(out), "loopback: ") {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(out)) {
					if strings.Contains(line, "WRONG") || k.right && !right(line) {
						t.Error(line)
					}
				}
			})
		}
	}
}

// A program in a Set of its own, which has not mounted a procfs there.
func TestSetWithoutItsProcCannotMisleadGonsoInside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|PID|Mount|UTS|Net)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Command(t.Context(), exe, exe)
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=looks at what it gets")
	out, err := c.CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil || !strings.Contains(string(out), "loopback: ") {
		t.Error(err)
	}
	for line := range strings.Lines(string(out)) {
		if !right(line) {
			t.Error(line)
		}
	}
}

// right reports whether something works as far as the kernel lets it. In another pid namespace's
// procfs, the id of another thread is found by PIDFD_THREAD.
func right(line string) bool {
	return strings.HasSuffix(line, ": ok\n") || strings.HasPrefix(line, "thread: typed: ") && !testenv.Has(testenv.Linux(6, 9))
}
