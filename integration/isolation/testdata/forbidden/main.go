// Command forbidden does things of gonso's where the machine forbids some of what they take, and says what came of
// them, a line each. Before them it may take on a filter of system calls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// inherited is a descriptor of this program that children inherit.
const inherited = 337

// timeout bounds what is done.
const timeout = 2 * time.Minute

// where is what work in a Set sees.
type where struct {
	Groups    []int
	Inherited bool
}

var look = gonso.Register("look", func(context.Context, struct{}) (w where, err error) {
	_, err = unix.FcntlInt(inherited, unix.F_GETFD, 0)
	w.Inherited = err == nil
	w.Groups, err = os.Getgroups()
	return w, err
})

func say(what string, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", what, err)
		return
	}
	fmt.Printf("%s: ok\n", what)
}

func main() {
	gonso.Init()
	calls := flag.String("filter", "", "system calls to be forbidden")
	errno := flag.Int("errno", int(unix.EPERM), "what they answer")
	kill := flag.Bool("kill", false, "they kill")
	inherit := flag.Bool("inherit", false, "have a descriptor that children inherit")
	keys := flag.Bool("keys", false, "use up the quota of keys")
	locked := flag.Bool("landlock", false, "be restricted by Landlock")
	nproc := flag.Bool("nproc", false, "have as many processes as RLIMIT_NPROC allows")
	nnp := flag.Bool("nnp", true, "set no_new_privs, which a filter takes without CAP_SYS_ADMIN")
	flag.Parse()
	if *inherit {
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			err = unix.Dup3(fd, inherited, 0)
		}
		if err != nil {
			say("inherit", err)
		}
	}
	if *calls != "" {
		action := uint32(unix.SECCOMP_RET_ERRNO | *errno)
		if *kill {
			action = unix.SECCOMP_RET_KILL_PROCESS
		}
		var err error
		if *nnp {
			_, _, e := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
			if e != 0 {
				err = e
			}
		}
		if err = errors.Join(err, filter(strings.Split(*calls, ","), action)); err != nil {
			say("filter", err)
			return
		}
	}
	const inSession = "FORBIDDEN_SESSION"
	if *keys && os.Getenv(inSession) == "" { // who has no session keyring may have one beyond the quota
		runtime.LockOSThread()
		_, err := unix.KeyctlJoinSessionKeyring("gonso-forbidden")
		if err == nil {
			err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), inSession+"=1"))
		}
		say("keys", err)
		return
	}
	for i := 0; *keys; i++ {
		_, err := unix.AddKey("user", "gonso-"+strconv.Itoa(i), []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		if err == nil {
			continue
		}
		if err != unix.EDQUOT {
			say("keys", err)
			return
		}
		break
	}
	if *locked {
		if err := landlock(); err != nil {
			say("landlock", err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if *nproc {
		if err := limitProcesses(ctx); err != nil {
			say("nproc", err)
			return
		}
	}
	for _, act := range flag.Args() {
		name, arg, _ := strings.Cut(act, "=")
		do(ctx, name, arg)
	}
}

func do(ctx context.Context, act, arg string) {
	switch act {
	case "own":
		s, err := gonso.Unshare(gonso.User|gonso.Mount|gonso.PID|gonso.Net, gonso.LoopbackUp())
		say("own unshare", err)
		if err == nil {
			use(ctx, "own ", s)
		}
	case "opened":
		opened(ctx)
	case "of": // the Set of a process
		pid, err := strconv.Atoi(arg)
		if err != nil {
			say("of", err)
			return
		}
		s, err := gonso.FromPID(pid, gonso.AllTypes&^gonso.Time)
		say("of open", err)
		if err == nil {
			use(ctx, "of ", s)
		}
	case "plain": // no user namespace
		s, err := gonso.Unshare(gonso.Net)
		say("plain unshare", err)
		if err == nil {
			use(ctx, "plain ", s)
		}
	case "unshare", "within": // types and options; the latter in a Set whose user namespace maps no id 0
		unshare(act, arg)
	case "join": // a process and types
		join(arg)
	case "open": // a path
		s, err := gonso.Open(arg)
		if err == nil {
			err = s.Run(func() error { return nil })
			s.Close()
		}
		say("open", err)
	case "subids":
		s, err := gonso.Unshare(gonso.User, gonso.SubIDs())
		say("subids", err)
		if err == nil {
			uid, _, err := s.IDMaps()
			fmt.Printf("map: %v, %v\n", uid, err)
			s.Close()
		}
	case "roots":
		roots()
	case "reap":
		reap(ctx, arg)
	case "cgroup":
		cgroup(ctx, arg)
	case "calls":
		calls(ctx)
	case "probe":
		probe(ctx)
	case "keyctl":
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
		say("keyctl", err)
	case "file":
		file(ctx)
	default:
		say(act, errors.New("there is no such act"))
	}
}

// unshare makes namespaces.
func unshare(act, arg string) {
	what := act + "=" + arg
	var types gonso.Type
	var options []gonso.UnshareOption
	for _, name := range strings.Split(arg, ",") {
		switch name {
		case "up":
			options = append(options, gonso.LoopbackUp())
		case "proc":
			options = append(options, gonso.MountProc())
		case "sys":
			options = append(options, gonso.MountSys())
		case "offsets":
			options = append(options, gonso.ClockOffsets(time.Second, time.Second))
		case "many":
			options = append(options, gonso.IDMaps([]gonso.IDMap{{Size: 10}}, []gonso.IDMap{{Size: 10}}))
		case "subids":
			options = append(options, gonso.SubIDs())
		case "owner":
			options = append(options, gonso.OwnerUID(12))
		default:
			t, ok := typeNames[name]
			if !ok {
				say(what, fmt.Errorf("type %q is not known", name))
				return
			}
			types |= t
		}
	}
	in := new(gonso.Set)
	if act == "within" {
		var err error
		if in, err = gonso.Unshare(gonso.User, gonso.IDMaps([]gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Geteuid()), Size: 1}}, []gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Getegid()), Size: 1}})); err != nil {
			say(what, err)
			return
		}
		defer in.Close()
	}
	s, err := in.Unshare(types, options...)
	say(what, err)
	if err == nil {
		s.Close()
	}
}

var typeNames = map[string]gonso.Type{
	"cgroup": gonso.Cgroup, "ipc": gonso.IPC, "mnt": gonso.Mount, "net": gonso.Net, "pid": gonso.PID,
	"time": gonso.Time, "user": gonso.User, "uts": gonso.UTS,
}

// join runs something in namespaces of a process.
func join(arg string) {
	what := "join=" + arg
	number, names, _ := strings.Cut(arg, ":")
	pid, err := strconv.Atoi(number)
	var types gonso.Type
	for _, name := range strings.Split(names, ",") {
		types |= typeNames[name]
	}
	var s *gonso.Set
	if err == nil {
		s, err = gonso.FromPID(pid, types)
	}
	if err == nil {
		defer s.Close()
		err = s.Run(func() error { return nil })
		if errors.Is(err, gonso.ErrNeedsProcess) {
			_, err = look.Do(context.Background(), s, struct{}{}, gonso.InProcess())
		}
	}
	say(what, err)
}

// opened uses namespaces that somebody has made, as for gonso that is whoever has a process there.
func opened(ctx context.Context) {
	made, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.PID | gonso.Net)
	if err != nil {
		say("opened unshare", err)
		return
	}
	defer made.Close()
	c := made.Command(context.Background(), "/bin/sleep", "600")
	if err := c.Start(); err != nil {
		say("opened hold", err)
		return
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	s, err := gonso.FromPID(c.Process.Pid, gonso.User|gonso.Mount|gonso.PID|gonso.Net)
	say("opened open", err)
	if err == nil {
		use(ctx, "opened ", s)
	}
}

func use(ctx context.Context, what string, s *gonso.Set) {
	defer s.Close()
	w, err := look.Do(ctx, s, struct{}{}, gonso.InProcess())
	say(what+"do", err)
	if w.Inherited {
		say(what+"descriptors", errors.New("the worker has one that was not named"))
	}
	out, err := s.Command(ctx, "/bin/ls", "/proc/self/fd").Output()
	if slices.Contains(strings.Fields(string(out)), strconv.Itoa(inherited)) {
		err = fmt.Errorf("the command has descriptors %q", out)
	}
	say(what+"command", err)
	c := s.Command(ctx, "forbidden")
	if c.Exe, err = os.Open("/proc/self/exe"); err == nil { // which does nothing, without arguments
		err = c.Run()
		c.Exe.Close()
	}
	say(what+"exe", err)
	c = s.Command(ctx, "/bin/ls")
	c.Dir = "/"
	say(what+"dir", c.Run())
	_, _, err = s.IDMaps()
	say(what+"idmaps", err)
	l, err := s.Listen(ctx, "tcp", "127.0.0.1:0")
	say(what+"listen", err)
	if err == nil {
		l.Close()
	}
	inner, err := s.Unshare(gonso.UTS)
	say(what+"nested", err)
	if err == nil {
		inner.Close()
	}
	inner, err = s.Unshare(gonso.User | gonso.PID)
	say(what+"nested user", err)
	if err == nil {
		_, err = look.Do(ctx, inner, struct{}{}, gonso.InProcess())
		say(what+"nested do", err)
		inner.Close()
	}
}

// cgroup starts a program in one, and says where it was.
func cgroup(ctx context.Context, dir string) {
	f, err := os.Open(dir)
	if err != nil {
		say("cgroup", err)
		return
	}
	defer f.Close()
	c := new(gonso.Set).Command(ctx, "/bin/cat", "/proc/self/cgroup")
	c.Cgroup = f
	out, err := c.Output()
	say("cgroup", err)
	fmt.Printf("in: %q\n", out)
}

// file opens one by a way that takes openat2.
func file(ctx context.Context) {
	f, err := new(gonso.Set).OpenFile(ctx, "/passwd", os.O_RDONLY, 0, gonso.InRoot("/etc"))
	say("file", err)
	if err == nil {
		f.Close()
	}
	_, err = new(gonso.Set).OpenFile(ctx, "/nobody", os.O_RDONLY, 0, gonso.InRoot("/etc"))
	say("no file", err)

	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		return // not root
	}
	defer s.Close()
	for _, name := range []string{"/proc/net/dev", "/proc/self/ns/net", "/proc/version"} {
		f, err := s.OpenFile(ctx, name, os.O_RDONLY, 0)
		say(name, err)
		if err == nil {
			f.Close()
		}
	}
}

// roots lists what is in the root directories of the processes that keep a pid namespace: the original, and the init. That
// takes root.
func roots() {
	s, err := gonso.Unshare(gonso.User | gonso.PID)
	if err != nil {
		say("roots", err)
		return
	}
	defer s.Close()
	parents := make(map[string]string)
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		status, _ := os.ReadFile("/proc/" + e.Name() + "/status") // of what is gone, or no process, there is none
		_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
		parents[e.Name()], _, _ = strings.Cut(rest, "\n")
	}
	self := strconv.Itoa(os.Getpid())
	var seen, found []string
	for _, e := range entries {
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if parent := parents[e.Name()]; (parent == self || parents[parent] == self) && strings.HasPrefix(string(args), "gonso-init") {
			names, rerr := os.ReadDir("/proc/" + e.Name() + "/root/")
			err = errors.Join(err, rerr)
			seen = append(seen, e.Name())
			for _, n := range names {
				found = append(found, n.Name())
			}
		}
	}
	fmt.Printf("roots: %d processes, %q, %v\n", len(seen), found, err)
}

// reap has the making of a pid namespace, and a program in one, fail often where orphans come to this process, and
// counts who is left.
func reap(ctx context.Context, times string) {
	n, err := strconv.Atoi(times)
	if err == nil && os.Getpid() != 1 {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		say("reap", err)
		return
	}
	failed := 0
	for range n {
		s, err := gonso.Unshare(gonso.User|gonso.Mount|gonso.PID, gonso.MountProc("/nowhere"))
		if err != nil {
			failed++
			continue
		}
		s.Close()
	}
	s, err := gonso.Unshare(gonso.User | gonso.PID)
	if err != nil {
		say("reap", err)
		return
	}
	for range n {
		if s.Command(ctx, "/nowhere").Run() != nil {
			failed++
		}
	}
	s.Close()
	fmt.Printf("reap: %d failed, %d left\n", failed, left())
}

// left counts the children that nobody reaps, in time.
func left() (n int) {
	wait := func(options int) (ended, none bool) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|options, nil)
		return err == nil && info.Signo != 0, err == unix.ECHILD
	}
	end, tick := time.After(timeout/10), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		if _, none := wait(unix.WNOWAIT); none {
			break
		}
		select {
		case <-tick.C:
		case <-end:
			over = true
		}
	}
	for ended, _ := wait(0); ended; ended, _ = wait(0) {
		n++
	}
	return n
}
