// Command guest does things of gonso's in the namespaces of a process, for root inside to
// attack it. It says what came of them, a line each.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

var (
	stay = gonso.Register("stay", func(ctx context.Context, _ struct{}) (int, error) {
		<-ctx.Done()
		return 0, nil
	})
	read = gonso.Register("read", func(_ context.Context, name string) (string, error) {
		b, err := os.ReadFile(name)
		return string(b), err
	})
	open = gonso.Register("open", func(_ context.Context, name string) (string, error) {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err.Error(), nil
		}
		defer unix.Close(fd)
		_, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return fmt.Sprintf("opened, %v", err), nil
	})
	look = gonso.Register("look", func(context.Context, struct{}) (string, error) {
		b, err := os.ReadFile("/proc/self/status")
		score, serr := os.ReadFile("/proc/self/oom_score_adj")
		var core unix.Rlimit
		rerr := unix.Getrlimit(unix.RLIMIT_CORE, &core)
		return fmt.Sprintf("%sScore:\t%sCore:\t%d\nKeyring:\t%s\n", b, score, core.Max, keyring()), errors.Join(err, serr, rerr)
	})
)

// keyring is that of the session.
func keyring() string {
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(id)
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(0)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func main() {
	gonso.Init()
	pid := must(strconv.Atoi(os.Args[2]))
	args := os.Args[3:]
	ctx := context.Background()
	switch os.Args[1] {
	case "hold":
		hold(ctx, pid, args[0])
	case "launch":
		launch(ctx, pid)
	case "nest":
		nest(pid)
	case "dirs":
		dirs(ctx, pid, args[0], args[1])
	case "terminal":
		terminal(ctx, pid, args[0])
	case "cross":
		cross(ctx, pid)
	case "ids":
		ids(ctx, pid)
	case "keyring":
		fmt.Printf("Keyring:\t%s\n", keyring())
	case "wait":
		for {
			unix.Pause()
		}
	}
}

// narrow is a Set of what is needed to get to the pid namespace, and that.
func narrow(pid int) *gonso.Set {
	s := must(gonso.FromPID(pid))
	return must(s.Without(gonso.AllTypes &^ (gonso.User | gonso.PID)))
}

func functions(ctx context.Context, s *gonso.Set) {
	check(s.Warm(ctx))
	go stay.Do(ctx, s, struct{}{}, gonso.InProcess())
}

// hold makes something and keeps it until its input ends.
func hold(ctx context.Context, pid int, what string) {
	var c *gonso.Cmd
	switch what {
	case "init":
		must(must(gonso.FromPID(pid)).Unshare(gonso.PID))
	case "init, mnt":
		must(must(gonso.FromPID(pid)).Unshare(gonso.PID | gonso.Mount))
	case "init of pid":
		must(narrow(pid).Unshare(gonso.PID))
	case "worker":
		functions(ctx, must(gonso.FromPID(pid)))
	case "worker of pid":
		functions(ctx, narrow(pid))
	case "worker of pid and a copy":
		functions(ctx, must(narrow(pid).Unshare(gonso.Mount)))
	case "worker of pid and another copy":
		functions(ctx, must(narrow(pid).With(must(gonso.Unshare(gonso.User|gonso.Mount)))))
	case "command":
		c = must(gonso.FromPID(pid)).Command(ctx, "sleep", "60")
	case "command of pid":
		c = narrow(pid).Command(ctx, "sleep", "60")
	case "self of pid":
		c = narrow(pid).Self(ctx, "wait", "0")
	}
	if c != nil {
		check(c.Start())
		defer c.Wait()
		defer c.Process.Kill()
	}
	fmt.Println("holding")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

// launch does what it can for some seconds.
func launch(ctx context.Context, pid int) {
	s := must(gonso.FromPID(pid))
	long := time.Second
	if os.Getenv("GONSO_TEST_STRESS") != "" {
		long = 3 * time.Second
	}
	for until := time.Now().Add(long); time.Now().Before(until); {
		for _, types := range []gonso.Type{gonso.Net, gonso.PID, gonso.User, gonso.PID | gonso.Mount} {
			n, err := s.Unshare(types)
			if err == nil {
				n.Close()
			} else if types&gonso.User == 0 {
				check(err)
			}
		}
		must(read.Do(ctx, s, "/proc/self/status", gonso.Isolated()))
		check(s.Command(ctx, "id").Run())
		s.IDMaps()
	}
	fmt.Println("launched")
}

// nest makes, for some seconds, what has files to be written, from the user namespace inside alone: the
// launchers begin with the host's files.
func nest(pid int) {
	s := must(must(gonso.FromPID(pid)).Without(gonso.AllTypes &^ gonso.User))
	offsets := gonso.ClockOffsets(time.Hour, time.Hour)
	made := 0
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); made++ {
		must(s.Unshare(gonso.User)).Close()
		must(s.Unshare(gonso.User|gonso.Net|gonso.UTS, gonso.LoopbackUp())).Close()
		must(s.Unshare(gonso.Time, offsets)).Close()
		must(s.Unshare(gonso.User|gonso.Time|gonso.Mount|gonso.PID, offsets)).Close()
		must(s.Unshare(gonso.Net)).Close()
	}
	fmt.Println("nested", made > 0)
}

// dirs leaks descriptors of a directory, and goes where links inside lead to them.
func dirs(ctx context.Context, pid int, dir, busybox string) {
	d := must(unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0))
	for fd := 10; fd <= 30; fd++ {
		if fd != d {
			check(unix.Dup2(d, fd))
		}
	}
	exe := must(os.Open(busybox))
	s := must(gonso.FromPID(pid))
	for fd := range 40 {
		link := fmt.Sprintf("/links/%d", fd)
		w := must(s.Dup())
		check(w.SetWorker(gonso.Worker{Dir: link}))
		if got, err := read.Do(ctx, w, "secret", gonso.InProcess()); err == nil {
			fmt.Println("outside: Worker.Dir", fd, got)
		}
		w.Close()
		c := s.Command(ctx, "cat", "secret")
		c.Dir = link
		if got, err := c.Output(); err == nil {
			fmt.Printf("outside: Dir %d %s\n", fd, got)
		}
		for _, dir := range []string{"", ".", "/"} {
			c = s.Command(ctx, "cat", "secret")
			c.Chroot, c.Dir, c.Exe = link, dir, exe
			if got, err := c.Output(); err == nil {
				fmt.Printf("outside: Chroot %d and Dir %q %s\n", fd, dir, got)
			}
		}
		c = s.Command(ctx, "cat", link+"/secret")
		if got, err := c.Output(); err == nil {
			fmt.Printf("outside: Path %d %s\n", fd, got)
		}
	}
	// What is inside is still found.
	w := must(s.Dup())
	check(w.SetWorker(gonso.Worker{Dir: "/inside"}))
	fmt.Println(must(read.Do(ctx, w, "file", gonso.InProcess())))
	c := s.Command(ctx, "cat", "file")
	c.Dir = "/inside"
	fmt.Printf("%s\n", must(c.Output()))
	c = s.Command(ctx, "cat", "file")
	c.Exe, c.Chroot = exe, "/inside"
	fmt.Printf("%s\n", must(c.Output()))
}

// terminal opens the controlling terminal from inside.
func terminal(ctx context.Context, pid int, name string) {
	s := must(gonso.FromPID(pid))
	fmt.Println("here:", must(open.Do(ctx, new(gonso.Set), "/dev/tty")))
	fmt.Println("function:", must(open.Do(ctx, s, name, gonso.InProcess())))
	fmt.Println("isolated:", must(open.Do(ctx, s, name, gonso.Isolated())))
	if own, err := gonso.Unshare(gonso.User | gonso.PID); err == nil {
		fmt.Println("own Set:", must(open.Do(ctx, own, "/dev/tty", gonso.InProcess())))
	}
	fmt.Println("home:", must(open.Do(ctx, new(gonso.Set), "/dev/tty", gonso.InProcess())))
	for _, keep := range []bool{false, true} {
		c := s.Command(ctx, "sh", "-c", "exec 3<"+name)
		c.KeepSession = keep
		fmt.Printf("command, session kept %v: %v\n", keep, c.Run())
	}
}

// cross is started in an odd state and says what of it is inside.
func cross(ctx context.Context, pid int) {
	// It takes CAP_SYS_RESOURCE, which root of a container has not got.
	os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0)
	check(syscall.Setgroups([]int{7, 8}))
	unix.Umask(0)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGUSR1)
	check(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4096, Max: 4096}))
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	check(unix.Capget(&header, &caps[0]))
	caps[0].Inheritable, caps[1].Inheritable = caps[0].Permitted, caps[1].Permitted
	capset(&header, &caps)
	for _, c := range []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN} {
		_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0, 0)
		if errno != 0 {
			check(errno)
		}
	}
	s := must(gonso.FromPID(pid))
	show := func(who, status string) {
		for line := range strings.Lines(status) {
			name, value, _ := strings.Cut(line, ":")
			switch name {
			case "Groups", "CapInh", "CapAmb", "Umask", "SigIgn", "Score", "Core", "Keyring":
				fmt.Printf("%s %s %s\n", who, name, strings.TrimSpace(value))
			}
		}
	}
	show("worker", must(look.Do(ctx, s, struct{}{}, gonso.InProcess())))
	// Not by a shell: busybox's had a default action for SIGHUP once, whatever it was started with.
	read := func(path string) string { return string(must(s.Command(ctx, "cat", path).Output())) }
	show("command", read("/proc/self/status")+"Score:"+read("/proc/self/oom_score_adj"))
	// What makes namespaces stays with a pid namespace, in two processes.
	made := must(s.Unshare(gonso.PID))
	defer made.Close()
	show("here", statusOf("self"))
	fmt.Println("here Keyring", keyring())
	show("command", string(must(s.Self(ctx, "keyring", "0").Output())))
	for _, original := range testenv.ChildrenNamed(os.Getpid(), "gonso-init") {
		show("original", statusOf(strconv.Itoa(original)))
		for _, init := range testenv.ChildrenNamed(original, "gonso-init") {
			show("init", statusOf(strconv.Itoa(init)))
		}
	}
}

// statusOf has what look has, of another process.
func statusOf(process string) string {
	status := must(os.ReadFile("/proc/" + process + "/status"))
	score := must(os.ReadFile("/proc/" + process + "/oom_score_adj"))
	return fmt.Sprintf("%sScore:\t%s", status, score)
}

// ids is about keeping those of outside.
func ids(ctx context.Context, pid int) {
	s := must(gonso.FromPID(pid))
	c := s.Command(ctx, "id")
	c.KeepIDs = true
	out, err := c.Output()
	fmt.Printf("command: %v %s\n", err, strings.TrimSpace(string(out)))
	w := must(s.Dup())
	check(w.SetWorker(gonso.Worker{KeepIDs: true}))
	_, err = read.Do(ctx, w, "/proc/self/status", gonso.InProcess())
	fmt.Printf("function: %v\n", err)
}
