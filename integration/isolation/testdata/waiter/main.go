// Command waiter calls what there is of gonso's in the namespaces of a process, while root inside does
// all to keep it waiting. It says how long each call took, and what is left in the end.
//
//	waiter PID TYPES WHAT [ARGUMENT]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

const second = time.Second // of each context, and of Grace

var (
	pid   = gonso.Register("pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })
	sleep = gonso.Register("sleep", func(context.Context, struct{}) (int, error) {
		for { // heeds nothing
			unix.Pause()
		}
	})
	heeds = gonso.Register("heeds", func(ctx context.Context, _ struct{}) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	read = gonso.Register("read", func(_ context.Context, name string) (string, error) {
		b, err := os.ReadFile(name)
		return string(b), err
	})
	// These give what cannot be closed.
	give = gonso.Register("give", func(_ context.Context, name string) (*os.File, error) {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) // os.Open would ask whether it is ready
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	})
	giveLate = gonso.Register("give late", func(ctx context.Context, name string) (*os.File, error) {
		<-ctx.Done()
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), ctx.Err()
	})
)

// Took is what waiter says of a call.
type Took struct {
	Call  string
	Took  time.Duration
	Err   string
	Hung  string   `json:",omitempty"` // where, if it has not returned
	Bound string   // "ctx", "Close", or "own" for calls that have no context
	Left  []string `json:",omitempty"` // the last one says it
}

var say struct {
	sync.Mutex
	*json.Encoder
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

// limit is far more than any call may take.
const limit = 40 * time.Second

// timed makes a call and says what came of it.
func timed(call, bound string, f func() error) {
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := Took{Call: call, Bound: bound}
	select {
	case err := <-done:
		if err != nil {
			t.Err = err.Error()
		}
	case <-time.After(limit):
		b := make([]byte, 1<<18)
		t.Hung = string(b[:runtime.Stack(b, true)])
	}
	t.Took = time.Since(begin)
	say.Lock()
	defer say.Unlock()
	say.Encode(t)
}

// within is a call with a context of a second.
func within(call string, f func(ctx context.Context) error) {
	timed(call, "ctx", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		return f(ctx)
	})
}

func ignore[T any](_ T, err error) error { return err }

func closing[T interface{ Close() error }](c T, err error) error {
	if err == nil {
		go c.Close() // the caller's affair
	}
	return err
}

func main() {
	gonso.Init()
	say.Encoder = json.NewEncoder(os.Stdout)
	what := os.Args[3]
	var arg string
	if len(os.Args) > 4 {
		arg = os.Args[4]
	}
	for what == "sleep" {
		unix.Pause()
	}
	s := must(gonso.FromPID(must(strconv.Atoi(os.Args[1])), gonso.Type(must(strconv.Atoi(os.Args[2])))))
	// What is made once is there already.
	own, err := gonso.Unshare(gonso.User)
	check(err)
	must(pid.Do(context.Background(), own, struct{}{}, gonso.InProcess()))
	check(own.Close())
	left := testenv.Leftovers()
	c := &caller{s: s, in: bufio.NewReader(os.Stdin)}
	ways := map[string]func(){
		"worker": c.worker, "command": c.command, "init": c.init, "all": c.all, "cold": c.cold,
		"files": func() { c.files(arg) }, "given": func() { c.given(arg) }, "cgroup": func() { c.cgroup(arg) },
	}
	ways[what]()
	fmt.Println("called")
	c.listen()
	timed("Close", "own", s.Close)
	t := Took{Call: "left"}
	for _, l := range left() {
		t.Left = append(t.Left, fmt.Sprintf("%.1000s", l))
	}
	say.Encode(t)
}

type caller struct {
	s  *gonso.Set
	in *bufio.Reader
}

func (c *caller) listen() {
	_, err := c.in.ReadString('\n')
	check(err)
}

// ready is said when there is something to be attacked.
func (c *caller) ready() {
	fmt.Println("ready")
	c.listen()
}

// with is a Set with a worker of its own.
func (c *caller) with(w gonso.Worker) *gonso.Set {
	s := must(c.s.Dup())
	w.Grace = second
	check(s.SetWorker(w))
	return s
}

func (c *caller) worker() {
	s := c.with(gonso.Worker{})
	check(s.Warm(context.Background()))
	c.ready()
	within("Do", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.InProcess())) })
	within("Do that heeds", func(ctx context.Context) error { return ignore(heeds.Do(ctx, s, struct{}{}, gonso.InProcess())) })
	within("Do that heeds nothing", func(ctx context.Context) error {
		return ignore(sleep.Do(ctx, s, struct{}{}, gonso.InProcess()))
	})
	within("isolated", func(ctx context.Context) error { return ignore(sleep.Do(ctx, s, struct{}{}, gonso.Isolated())) })
	within("Listen", func(ctx context.Context) error { return closing(s.Listen(ctx, "tcp", "127.0.0.1:0")) })
	within("OpenFile", func(ctx context.Context) error { return closing(s.OpenFile(ctx, "/etc", os.O_RDONLY, 0)) })
	within("Warm", s.Warm)
	timed("Close of the worker's Set", "Close", s.Close)
}

func (c *caller) command() {
	s := c.with(gonso.Worker{})
	ctx, cancel := context.WithCancel(context.Background())
	var cmds []*gonso.Cmd
	for i := range 3 {
		cmd := s.Command(ctx, "sleep", "600")
		switch i {
		case 1:
			cmd.WaitDelay = second
		case 2:
			cmd = s.Self(ctx, "0", "0", "sleep")
		}
		check(cmd.Start())
		cmds = append(cmds, cmd)
	}
	c.ready()
	cancel()
	for i, cmd := range cmds {
		timed("Wait "+strconv.Itoa(i), "ctx", cmd.Wait)
	}
	within("Run", func(ctx context.Context) error { return s.Command(ctx, "sleep", "600").Run() })
	timed("Close of its Set", "Close", s.Close)
}

// init is about that of a pid namespace made inside.
func (c *caller) init() {
	made := must(c.s.Unshare(gonso.PID))
	check(made.SetWorker(gonso.Worker{Grace: second}))
	c.ready()
	within("Do", func(ctx context.Context) error { return ignore(pid.Do(ctx, made, struct{}{}, gonso.InProcess())) })
	within("Run", func(ctx context.Context) error { return made.Command(ctx, "sleep", "600").Run() })
	timed("Unshare(PID)", "own", func() error { return closing(made.Unshare(gonso.PID)) })
	timed("Close of the made Set", "Close", made.Close)
}

// cold calls have somebody on the way.
func (c *caller) cold() {
	c.ready()
	c.calls(c.with(gonso.Worker{}), testenv.Times(1, 4))
}

// calls are made where there is nobody yet, so many at a time, and Close in the end.
func (c *caller) calls(s *gonso.Set, lanes int) {
	ctxCalls := []struct {
		call string
		f    func(ctx context.Context) error
	}{
		{"isolated", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.Isolated())) }},
		{"Do", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.InProcess())) }},
		{"Do that heeds nothing", func(ctx context.Context) error { return ignore(sleep.Do(ctx, s, struct{}{}, gonso.InProcess())) }},
		{"Run", func(ctx context.Context) error { return s.Command(ctx, "id").Run() }},
		{"Output", func(ctx context.Context) error { return ignore(s.Command(ctx, "sleep", "600").Output()) }},
		{"Self", func(ctx context.Context) error { return s.Self(ctx, "0", "0", "sleep").Run() }},
		{"DialContext", func(ctx context.Context) error { return closing(s.DialContext(ctx, "tcp", "127.0.0.1:1")) }},
		{"OpenFile", func(ctx context.Context) error { return closing(s.OpenFile(ctx, "/etc", os.O_RDONLY, 0)) }},
	}
	ownCalls := []struct {
		call string
		f    func() error
	}{
		{"Unshare(Net)", func() error { return closing(s.Unshare(gonso.Net)) }},
		{"Unshare(PID)", func() error { return closing(s.Unshare(gonso.PID)) }},
		{"Unshare(PID|Mount)", func() error { return closing(s.Unshare(gonso.PID | gonso.Mount)) }},
		{"Unshare(User)", func() error { return closing(s.Unshare(gonso.User | gonso.UTS)) }},
		{"IDMaps", func() error {
			_, _, err := s.IDMaps()
			return err
		}},
	}
	var calls sync.WaitGroup
	turn := make(chan struct{}, lanes)
	in := func(f func()) {
		turn <- struct{}{}
		calls.Go(func() {
			defer func() { <-turn }()
			f()
		})
	}
	for _, c := range ctxCalls {
		in(func() { within(c.call, c.f) })
	}
	for _, c := range ownCalls {
		in(func() { timed(c.call, "own", c.f) })
	}
	calls.Wait()
	timed("Close of the Set", "Close", s.Close)
}

// all makes many calls at once, again and again.
func (c *caller) all() {
	c.ready()
	rounds := testenv.Times(2, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range rounds {
				c.calls(c.with(gonso.Worker{}), 1)
			}
		})
	}
	wg.Wait()
}

// files looks up what is below a directory, in every way that there is.
func (c *caller) files(dir string) {
	c.ready()
	var calls sync.WaitGroup
	turn := make(chan struct{}, 6)
	opening := true
	for _, w := range []struct {
		call string
		f    func(ctx context.Context, s *gonso.Set) error
	}{
		{"OpenFile", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.OpenFile(ctx, dir+"/file", os.O_RDONLY, 0))
		}},
		{"OpenFile to write", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.OpenFile(ctx, dir+"/file", os.O_RDWR|os.O_CREATE, 0o600))
		}},
		{"OpenFile of a directory", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.OpenFile(ctx, dir+"/dir", os.O_RDONLY, 0))
		}},
		{"OpenFile of any", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.OpenFile(ctx, dir+"/file", os.O_RDONLY|unix.O_NONBLOCK, 0, gonso.AnyFile()))
		}},
		{"DialContext", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.DialContext(ctx, "unix", dir+"/sock"))
		}},
		{"Listen", func(ctx context.Context, s *gonso.Set) error {
			return closing(s.Listen(ctx, "unix", dir+"/dir/sock"))
		}},
		{"Do with Dir", func(ctx context.Context, s *gonso.Set) error {
			return ignore(pid.Do(ctx, s, struct{}{}, gonso.Dir(dir+"/dir/dir")))
		}},
		{"Do on a thread with Dir", func(ctx context.Context, s *gonso.Set) error {
			return ignore(pid.Do(ctx, s, struct{}{}, gonso.InThread(), gonso.Dir(dir+"/dir")))
		}},
		{"isolated with Dir", func(ctx context.Context, s *gonso.Set) error {
			return ignore(pid.Do(ctx, s, struct{}{}, gonso.Isolated(), gonso.Dir(dir+"/dir")))
		}},
		{"Do that reads", func(ctx context.Context, s *gonso.Set) error {
			return ignore(read.Do(ctx, s, dir+"/file", gonso.InProcess()))
		}},
		{"isolated that reads", func(ctx context.Context, s *gonso.Set) error {
			return ignore(read.Do(ctx, s, dir+"/file", gonso.Isolated()))
		}},
		{"Run", func(ctx context.Context, s *gonso.Set) error { return s.Command(ctx, dir+"/program").Run() }},
		{"Run by PATH", func(ctx context.Context, s *gonso.Set) error {
			cmd := s.Command(ctx, "program")
			cmd.Env = []string{"PATH=" + dir}
			return cmd.Run()
		}},
		{"Run with Dir", func(ctx context.Context, s *gonso.Set) error {
			cmd := s.Command(ctx, "id")
			cmd.Dir = dir + "/dir"
			return cmd.Run()
		}},
		{"Run with Chroot", func(ctx context.Context, s *gonso.Set) error {
			cmd := s.Command(ctx, "/program")
			cmd.Chroot = dir + "/dir"
			return cmd.Run()
		}},
		{"Self with Dir", func(ctx context.Context, s *gonso.Set) error {
			cmd := s.Self(ctx, "0", "0", "sleep")
			cmd.Dir = dir + "/dir"
			return cmd.Run()
		}},
	} {
		if opening && !strings.HasPrefix(w.call, "OpenFile") {
			opening = false
			calls.Wait()
			noneOpen(dir)
		}
		calls.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			s := c.with(gonso.Worker{})
			within(w.call, func(ctx context.Context) error { return w.f(ctx, s) })
			timed("Close after "+w.call, "Close", s.Close)
		})
	}
	calls.Wait()
	s := c.with(gonso.Worker{Dir: dir + "/dir/dir"})
	within("Worker.Dir", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.InProcess())) })
	timed("Close after Worker.Dir", "Close", s.Close)
	c.alive()
}

// noneOpen waits until no file below dir is open here. A child that has one closes it when it executes
// something, which waits for a file system that does not answer to that (do_close_on_exec in fs/file.c): so
// does whoever starts it, package exec included, and nobody can end that.
func noneOpen(dir string) {
	until := time.Now().Add(limit)
	for open := true; open && time.Now().Before(until); runtime.Gosched() {
		open = false
		for fd := range 1024 {
			name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			open = open || err == nil && strings.HasPrefix(name, dir)
		}
	}
}

// alive makes sure that what others do with the runtime's poller goes on.
func (c *caller) alive() {
	within("a pipe of this program", func(ctx context.Context) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		go func() {
			defer w.Close()
			w.Write([]byte("x"))
		}()
		return ignore(r.Read(make([]byte, 1)))
	})
}

// given has files come back that nobody can ask anything, and that cannot be closed.
func (c *caller) given(dir string) {
	c.ready()
	s := c.with(gonso.Worker{})
	within("a file comes", func(ctx context.Context) error {
		return closing(give.Do(ctx, s, dir+"/file", gonso.InProcess()))
	})
	c.alive()
	within("a directory comes", func(ctx context.Context) error {
		return closing(give.Do(ctx, s, dir+"/dir", gonso.InProcess()))
	})
	within("a file comes late", func(ctx context.Context) error {
		return closing(giveLate.Do(ctx, s, dir+"/file", gonso.InProcess()))
	})
	within("a file comes alone", func(ctx context.Context) error {
		return closing(give.Do(ctx, s, dir+"/file", gonso.Isolated()))
	})
	timed("Close of its Set", "Close", s.Close)
	c.alive()
}

// cgroup has everything in a cgroup that others rule.
func (c *caller) cgroup(dir string) {
	f := must(os.Open(dir))
	defer f.Close()
	s := c.with(gonso.Worker{Cgroup: dir})
	check(s.Warm(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	running := s.Command(ctx, "sleep", "600")
	running.Cgroup = f
	check(running.Start())
	c.ready()
	within("Do", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.InProcess())) })
	within("Do again", func(ctx context.Context) error { return ignore(sleep.Do(ctx, s, struct{}{}, gonso.InProcess())) })
	within("isolated", func(ctx context.Context) error { return ignore(pid.Do(ctx, s, struct{}{}, gonso.Isolated())) })
	within("Run", func(ctx context.Context) error {
		cmd := s.Command(ctx, "sleep", "600")
		cmd.Cgroup = f
		return cmd.Run()
	})
	cancel()
	timed("Wait", "ctx", running.Wait)
	timed("Close of its Set", "Close", s.Close)
	within("a program of the host's", func(context.Context) error { // forking goes on
		return must(gonso.Current(gonso.UTS)).Command(context.Background(), "true").Run()
	})
}
