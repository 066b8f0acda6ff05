package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	cni "github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/bench/single"
)

// Names of contestants that others are compared with.
const (
	byHandRestored = "setns in and out, fresh goroutine"
	byHandDropped  = "setns, goroutine ends locked"
	closure        = "gonso, closure, restored"
	goEcho         = "Go echo, a socketpair a caller"
	cleanCall      = "gonso, call, LeavesThreadClean"
	spinningCall   = "gonso, call, LeavesThreadClean, Spin"
)

// contestants are those that this program has. The process that bench-hand is has them, and no more
// packages than it needs for them.
var contestants = []single.Contestant{
	{Name: "the pace alone", Open: func(int) (*single.Opened, error) {
		return &single.Opened{Call: func(int) error { return nil }, Close: func() error { return nil }}, nil
	}},
	{Name: byHandRestored, Open: inNet(func(s *gonso.Set, r *race) (func() error, error) {
		all, err := r.byHand(s, gonso.Net)
		return func() error { return inAndOut(all, true) }, err
	})},
	{Name: closure, Open: inNet(func(s *gonso.Set, _ *race) (func() error, error) {
		return func() error { return s.Do(true, nothing) }, nil
	})},
	{Name: "CNI ns.Do", Open: inNet(func(s *gonso.Set, r *race) (func() error, error) {
		file, err := s.File(gonso.Net)
		if err != nil {
			return nil, err
		}
		r.close = append(r.close, file.Close)
		peer, err := cni.GetNS(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()))
		if err != nil {
			return nil, err
		}
		r.close = append(r.close, peer.Close)
		return func() error { return peer.Do(func(cni.NetNS) error { return nil }) }, nil
	})},
	{Name: "vishvananda/netns by hand", Open: inNet(func(s *gonso.Set, r *race) (func() error, error) {
		file, err := s.File(gonso.Net)
		if err != nil {
			return nil, err
		}
		r.close = append(r.close, file.Close)
		return func() error { return byNetns(netns.NsHandle(file.Fd())) }, nil
	})},
	{Name: byHandDropped, Open: inNet(func(s *gonso.Set, r *race) (func() error, error) {
		all, err := r.byHand(s, gonso.Net)
		return func() error { return inAndOut(all, false) }, err
	})},
	{Name: "gonso, closure, dropped", Open: inNet(func(s *gonso.Set, _ *race) (func() error, error) {
		return func() error { return s.Do(false, nothing) }, nil
	})},
	{Name: "gonso, function on a thread", Open: inNet(func(s *gonso.Set, _ *race) (func() error, error) {
		return func() error { return called(echo.Do(context.Background(), s, point{1, 2, "x"})) }, nil
	})},
	{Name: goEcho, Open: openEcho},
	{Name: "two pipes, raw", Open: func(int) (*single.Opened, error) { return openRaw(twoPipes) }},
	{Name: "socketpair, raw", Open: func(int) (*single.Opened, error) { return openRaw(socketPair) }},
	{Name: cleanCall, Open: openCalls(echo, gonso.Worker{})},
	{Name: spinningCall, Open: openCalls(echo, gonso.Worker{Spin: 200 * time.Microsecond})},
	{Name: "gonso, call, default", Open: openCalls(plainEcho, gonso.Worker{})},
}

func serveHand() {
	if err := single.Serve(os.Stdin, os.Stdout, contestants); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// inNet makes a Set with a net namespace, which only root can enter by a thread.
func inNet(open func(*gonso.Set, *race) (func() error, error)) func(int) (*single.Opened, error) {
	return func(int) (_ *single.Opened, err error) {
		r := &race{}
		defer r.abandon(&err)
		s, err := r.made(gonso.Net)
		if err != nil {
			return nil, missing(err)
		}
		call, err := open(s, r)
		if err != nil {
			return nil, err
		}
		return &single.Opened{Call: func(int) error { return call() }, Close: r.Close}, nil
	}
}

// missing makes of a notHere what the process that asks understands.
func missing(err error) error {
	if no, ok := errors.AsType[*notHere](err); ok {
		return &single.NotHere{What: no.what}
	}
	return err
}

// spent is what a worker says of itself: threads that have ended count as well.
type spent struct {
	PID      int
	Switches int64
}

var spending = gonso.Register("bench.spending", func(context.Context, struct{}) (spent, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return spent{os.Getpid(), int64(u.Nvcsw) + int64(u.Nivcsw)}, os.NewSyscallError("getrusage", err)
}, gonso.LeavesThreadClean())

// openCalls has a warm worker.
func openCalls(f *gonso.Func[point, point], w gonso.Worker) func(int) (*single.Opened, error) {
	return func(int) (_ *single.Opened, err error) {
		r := &race{}
		defer r.abandon(&err)
		s, err := r.made(gonso.User | gonso.Net)
		if err != nil {
			return nil, missing(err)
		}
		ctx := context.Background()
		w.Idle = 10 * time.Minute // other contestants have their turns in between
		if err := s.SetWorker(w); err != nil {
			return nil, err
		}
		first, err := spending.Do(ctx, s, struct{}{}, gonso.InProcess())
		if err != nil {
			return nil, err
		}
		return &single.Opened{
			Call: func(int) error { return callOf(f, s) },
			PID:  first.PID,
			Switches: func() (int64, error) {
				now, err := spending.Do(ctx, s, struct{}{}, gonso.InProcess())
				if err == nil && now.PID != first.PID {
					err = fmt.Errorf("the worker was process %d, and is now %d", first.PID, now.PID)
				}
				return now.Switches, err
			},
			Close: r.Close,
		}, nil
	}
}

// openEcho has a socketpair for each caller, all to one process.
func openEcho(callers int) (_ *single.Opened, err error) {
	var ours, theirs []*os.File
	closeOurs := func() {
		for _, f := range ours {
			f.Close()
		}
	}
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			closeOurs()
		}
	}()
	for range callers {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("socketpair", err)
		}
		unix.SetNonblock(fds[0], true)
		ours = append(ours, os.NewFile(uintptr(fds[0]), "socket"))
		theirs = append(theirs, os.NewFile(uintptr(fds[1]), "socket"))
	}
	cmd := asRole("bench-echo", fmt.Sprint(callers))
	cmd.ExtraFiles = theirs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	buffers := make([][message]byte, callers)
	return &single.Opened{
		PID: cmd.Process.Pid,
		Call: func(caller int) error {
			b := buffers[caller][:]
			if _, err := ours[caller].Write(b); err != nil {
				return err
			}
			_, err := ours[caller].Read(b)
			return err
		},
		Close: func() error {
			closeOurs()
			return cmd.Wait()
		},
	}, nil
}
