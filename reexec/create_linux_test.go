package reexec

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
)

// hold makes launches wait between the making of namespaces and the writing of
// id maps, and gives the pids of those that wait.
func hold(t *testing.T) (held <-chan int, release func()) {
	t.Helper()
	pids, gate := make(chan int, 100), make(chan struct{})
	beforeMaps = func(pid int) {
		pids <- pid
		<-gate
	}
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(func() {
		release()
		beforeMaps = func(int) {}
	})
	return pids, release
}

// goCreate makes a user namespace with the caller's own ids as root.
func goCreate(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() {
		fs, err := create(ctx, ownUser())
		sys.CloseFiles(fs)
		done <- err
	}()
	return done
}

// create is Create for what has no init.
func create(ctx context.Context, c *Creation) ([]*os.File, error) {
	m, err := Create(ctx, c)
	if err != nil {
		return nil, err
	}
	return m.Files, nil
}

func ownUser() *Creation {
	return &Creation{
		Unshare:       unix.CLONE_NEWUSER,
		UIDMap:        fmt.Sprintf("0 %d 1\n", os.Geteuid()),
		GIDMap:        fmt.Sprintf("0 %d 1\n", os.Getegid()),
		DenySetgroups: true,
	}
}

func TestCreateMakesAllTypesInOrder(t *testing.T) {
	needUserNS(t)
	if testenv.Home("time") == "" { // none on arm
		testenv.Found(t, "time", errors.New("there is no ns/time"))
	}
	c := ownUser()
	for _, link := range nsLinks {
		c.Unshare |= link.typ
	}
	m, err := Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fs := m.Files
	for i, link := range nsLinks {
		typ, err := unix.IoctlRetInt(int(fs[i].Fd()), unix.NS_GET_NSTYPE)
		if err != nil || uint32(typ) != link.typ {
			t.Errorf("file %d is of type %#x, want %s: %v", i, typ, link.name, err)
		}
		var made, own unix.Stat_t
		if err := errors.Join(unix.Fstat(int(fs[i].Fd()), &made), unix.Stat("/proc/thread-self/ns/"+link.name, &own)); err != nil {
			t.Fatal(err)
		}
		if made.Ino == own.Ino {
			t.Errorf("%s is this process's own", link.name)
		}
	}
}

// What the kernel refuses is told with the namespace it is about.
func TestCreateErrors(t *testing.T) {
	needUserNS(t)
	uts, err := os.Open("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	defer uts.Close()
	for name, tt := range map[string]struct {
		c    Creation
		op   string
		typ  uint32
		want error
	}{
		"join":        {Creation{Unshare: unix.CLONE_NEWUSER, Join: []Join{{Type: unix.CLONE_NEWNET, File: uts}}}, "setns", unix.CLONE_NEWNET, unix.EINVAL},
		"unshare":     {Creation{Unshare: 1 | unix.CLONE_NEWUSER}, "unshare", 1 | unix.CLONE_NEWUSER, unix.EINVAL},
		"propagation": {Creation{Unshare: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Propagation: unix.MS_SHARED | unix.MS_PRIVATE}, "mount", unix.CLONE_NEWNS, unix.EINVAL},
		"uid map":     {Creation{Unshare: unix.CLONE_NEWUSER, UIDMap: "x"}, "write uid_map of", unix.CLONE_NEWUSER, unix.EINVAL},
		"gid map":     {Creation{Unshare: unix.CLONE_NEWUSER, DenySetgroups: true, GIDMap: "0 0 0\n"}, "write gid_map of", unix.CLONE_NEWUSER, unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			fs, err := create(t.Context(), &tt.c)
			sys.CloseFiles(fs)
			var le *LaunchError
			if !errors.As(err, &le) {
				t.Fatalf("%T: %v", err, err)
			}
			if le.Op != tt.op || le.Type != tt.typ || !errors.Is(err, tt.want) {
				t.Errorf("op %q type %#x: %v, want %q %#x %v", le.Op, le.Type, err, tt.op, tt.typ, tt.want)
			}
			if fs != nil {
				t.Error("files besides the error")
			}
		})
	}
}

// The maps of a namespace below another one are written from inside that, and
// what is refused there is told as well.
func TestCreateBelowAnotherUserNamespace(t *testing.T) {
	needUserNS(t)
	outer, err := create(t.Context(), ownUser())
	if err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFiles(outer)
	join := []Join{{Type: unix.CLONE_NEWUSER, File: outer[0]}}

	inner, err := create(t.Context(), &Creation{Join: join, Unshare: unix.CLONE_NEWUSER, UIDMap: "7 0 1\n", GIDMap: "8 0 1\n", DenySetgroups: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFiles(inner)
	up, err := unix.IoctlRetInt(int(inner[0].Fd()), unix.NS_GET_PARENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(up)
	var parent, want unix.Stat_t
	if err := errors.Join(unix.Fstat(up, &parent), unix.Fstat(int(outer[0].Fd()), &want)); err != nil {
		t.Fatal(err)
	}
	if parent.Ino != want.Ino {
		t.Error("it is not below the one that was joined")
	}

	_, err = create(t.Context(), &Creation{Join: join, Unshare: unix.CLONE_NEWUSER, UIDMap: "0 5000 1\n"}) // not mapped there
	var le *LaunchError
	if !errors.As(err, &le) || le.Op != "write" || le.Type != unix.CLONE_NEWUSER || !errors.Is(err, unix.EPERM) {
		t.Errorf("%T: %v", err, err)
	}
}

func TestCreateGivesUpWithItsContext(t *testing.T) {
	needUserNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fs, err := create(ctx, ownUser())
	if err == nil { // it was faster
		sys.CloseFiles(fs)
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestKilledLauncherIsToldOf(t *testing.T) {
	needUserNS(t)
	held, release := hold(t)
	done := goCreate(t.Context())
	pid := receive(t, "the launcher", held)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is killed", func() bool { return !alive(pid) })
	release()
	if err := receive(t, "Create", done); err == nil {
		t.Error("no error, though nobody wrote the maps")
	}
}

func dumpable(t testing.TB) int {
	t.Helper()
	v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A task that shares this memory would take this process's PR_GET_DUMPABLE away
// when it changes ids, as the first prototype did. It is watched all
// the time.
func TestConcurrentLaunchesCannotMakeTheParentUndumpable(t *testing.T) {
	needUserNS(t)
	before := dumpable(t)
	const n = 64
	stop, watched := make(chan struct{}), make(chan int)
	go func() {
		looks := 0
		defer func() { watched <- looks }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); v != before {
				t.Errorf("dumpable is %d meanwhile, was %d: %v", v, before, err)
				return
			}
			looks++
			runtime.Gosched()
		}
	}()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16) // of race-enabled workers, few fit the machine
	for i := range n {
		wg.Go(func() {
			fs, err := create(t.Context(), ownUser())
			if err != nil {
				t.Error(err)
				return
			}
			defer sys.CloseFiles(fs)
			slots <- struct{}{}
			defer func() { <-slots }()
			// Every other one without root's ids: nothing stays as it was.
			w := NewWorker(WorkerOptions{Join: []Join{{Type: unix.CLONE_NEWUSER, File: fs[0]}}, Protect: i%2 == 0})
			defer w.Close()
			if _, err := w.Call(t.Context(), "pid", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	if looks := receive(t, "the watcher", watched); looks < n {
		t.Errorf("looked only %d times", looks)
	} else {
		t.Logf("looked %d times during %d launches", looks, 2*n)
	}
	if after := dumpable(t); after != before {
		t.Errorf("dumpable is %d, was %d", after, before)
	}
}

// os/exec holds syscall.ForkLock while it starts a process, and a task that
// shares memory stops the garbage collector: neither may wait for a launch.
// Shown by the order of events, not by time.
func TestHeldUpLaunchCannotDelayExecOrGarbageCollection(t *testing.T) {
	needUserNS(t)
	held, release := hold(t)
	done := goCreate(t.Context())
	pid := receive(t, "the launch", held)

	others := make(chan error, 2)
	go func() {
		for range 20 {
			if err := exec.Command("/bin/true").Run(); err != nil {
				others <- err
				return
			}
		}
		others <- nil
	}()
	go func() {
		for range 20 {
			runtime.GC()
		}
		others <- nil
	}()
	for range 2 {
		if err := receive(t, "os/exec and runtime.GC", others); err != nil {
			t.Error(err)
		}
	}
	// So can another launch.
	w, _ := newWorker(t, WorkerOptions{})
	mustCall(t, w, "pid", "")

	select {
	case err := <-done:
		t.Fatalf("the launch was not held up: %v", err)
	default:
	}
	if !alive(pid) {
		t.Error("the launcher is gone")
	}
	release()
	if err := receive(t, "the launch", done); err != nil {
		t.Error(err)
	}
}

// parentOf starts this test binary as one of the programs, gives what it prints
// first, and kills it.
func parentOf(t *testing.T, program string, want int) (pids []int) {
	t.Helper()
	c := testenv.Command(t, program)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for range want {
		pid, err := strconv.Atoi(receive(t, program, lines))
		if err != nil {
			t.Fatal(err)
		}
		if !alive(pid) && !strings.HasSuffix(program, "close all") { // such a worker soon ends by itself
			t.Fatalf("%d is gone before its parent is", pid)
		}
		pids = append(pids, pid)
	}
	if err := c.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range lines {
	}
	return pids
}

func init() {
	testenv.Program("held launch", func() {
		os.Unsetenv(testenv.ProgramEnv)
		beforeMaps = func(pid int) {
			fmt.Println(pid)
			pauseForever()
		}
		_, err := create(context.Background(), ownUser())
		fmt.Fprintln(os.Stderr, err)
	})
	testenv.Program("held mapper", func() { // and the launcher it is for
		os.Unsetenv(testenv.ProgramEnv)
		outer, err := create(context.Background(), ownUser())
		if err == nil {
			beforeMaps = func(pid int) {
				fmt.Println(pid)
				pauseForever()
			}
			_, err = create(context.Background(), &Creation{Join: []Join{{Type: unix.CLONE_NEWUSER, File: outer[0]}}, Unshare: unix.CLONE_NEWUSER, UIDMap: "0 0 1\n"})
		}
		fmt.Fprintln(os.Stderr, err)
	})
}

// Not by PR_SET_PDEATHSIG, which changes of ids clear and which means the
// thread: golang/go#27505.
func TestKilledParentCannotLeaveALauncher(t *testing.T) {
	needUserNS(t)
	for _, program := range []string{"held launch", "held mapper"} {
		t.Run(program, func(t *testing.T) {
			for _, pid := range parentOf(t, program, 1) {
				eventually(t, "the launcher ends", func() bool { return !alive(pid) })
			}
		})
	}
}

// everythingOf reads the whole memory of a process. What cannot be read is left
// out: there are no pages behind [vvar].
func everythingOf(t testing.TB, pid string) []byte {
	t.Helper()
	maps, err := os.Open("/proc/" + pid + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var all []byte
	for s := bufio.NewScanner(maps); s.Scan(); {
		var from, to int64
		var perm string
		if _, err := fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &perm); err != nil {
			continue // [vsyscall] is beyond int64
		}
		if !strings.HasPrefix(perm, "r") || to-from > 256<<20 {
			continue
		}
		b, _ := io.ReadAll(io.NewSectionReader(mem, from, to-from))
		all = append(all, b...)
	}
	return all
}

var secretOnHeap atomic.Pointer[string]

// Root inside reads and writes the host's memory through a helper
// that shares or copies it (tried on the first prototype; runc's and buildah's
// constructors fork).
func TestLauncherCannotHoldTheParentsMemory(t *testing.T) {
	needUserNS(t)
	b := make([]byte, 32)
	rand.Read(b)
	secret := hex.EncodeToString(b)
	secretOnHeap.Store(&secret)
	t.Setenv("GONSO_TEST_SECRET", secret)

	held, release := hold(t)
	done := goCreate(t.Context())
	pid := strconv.Itoa(receive(t, "the launch", held))
	all := everythingOf(t, pid)
	if len(all) < 4096 {
		t.Errorf("only %d bytes could be read", len(all))
	}
	if !bytes.Contains(all, []byte("gonso-create")) { // its argument: the search works
		t.Errorf("the launcher's name is not in its memory of %d bytes", len(all))
	}
	if bytes.Contains(all, []byte(secret)) {
		t.Error("the secret is in the launcher's memory")
	}
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile("/proc/" + pid + "/" + name)
		if err != nil {
			t.Error(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the secret is in the launcher's %s", name)
		}
	}
	t.Logf("read %d bytes of the launcher", len(all))
	release()
	if err := receive(t, "the launch", done); err != nil {
		t.Error(err)
	}

	// A process that does get the environment is found out by the same search.
	c := exec.Command("cat")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	if !bytes.Contains(everythingOf(t, strconv.Itoa(c.Process.Pid)), []byte(secret)) {
		t.Error("the search does not find the secret in a process that has it")
	}
}

func TestLaunchErrorText(t *testing.T) {
	err := error(&LaunchError{Op: "setns", Type: unix.CLONE_NEWNET, Step: "setns(8, CLONE_NEWNET) = 0", Err: unix.EPERM})
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "setns(8, CLONE_NEWNET) = 0: operation not permitted") {
		t.Error(err)
	}
}

// A process of which nothing was heard after the time is up is told of so.
func TestStartErrors(t *testing.T) {
	const limit = 3 * time.Second
	for _, tt := range []struct {
		alive, timedOut bool
		err             error
		notInit         bool
		want            string
	}{
		{true, true, os.ErrDeadlineExceeded, true, "did not come to Init within 3s"},
		{true, false, io.EOF, true, "ended without"},
		{false, true, os.ErrDeadlineExceeded, false, "did not start within 3s: possibly its runtime is kept waiting for the files below /proc and /sys"},
		{false, false, io.EOF, false, "ended before it ran any Go code"},
		{false, false, errors.New("garbled"), false, "garbled"},
		{true, false, errors.New("garbled"), false, "garbled"},
	} {
		err := comeUpError(tt.alive, tt.timedOut, limit, tt.err, &DiedError{Status: "exit status 9", Stderr: "its words\n"})
		died(t, err)
		if errors.Is(err, ErrNotInitialized) != tt.notInit {
			t.Errorf("%+v: blames Init: %v", tt, err)
		}
		for _, s := range []string{tt.want, "exit status 9", "its words"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%+v: no %q in: %v", tt, s, err)
			}
		}
	}
}
