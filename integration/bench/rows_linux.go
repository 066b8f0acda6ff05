package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	cni "github.com/containernetworking/plugins/pkg/ns"
	mobyreexec "github.com/moby/sys/reexec"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var rows = slices.Concat([]row{
	raceRow("Do restored, net", 4, func() (*race, error) { return doRestored(gonso.Net) }),
	raceRow("Do restored, net+uts+cgroup", 2, func() (*race, error) { return doRestored(gonso.Net | gonso.UTS | gonso.Cgroup) }),
	raceRow("Do dropped, net", 2, doDropped),
	raceRow("Func.Do on a thread, net", 2, threadCall),
	raceRow("process Do, warm", 2, func() (*race, error) { return warmCall(echo) }),
	raceRow("process Do, warm, not LeavesThreadClean", 2, func() (*race, error) { return warmCall(plainEcho) }),
	raceRow("process Do, warm, and reexec", 2, warmCallAndReexec),
	raceRow("process Do, cold", 4, coldCall),
	raceRow("process Do, cold, pid and time", 2, coldCallPIDTime),
	raceRow("Command, cold", 5, coldCommand),
	raceRow("Unshare and Command, user+net", 3, freshCommand),
	raceRow("Pool.Get, user+mnt+net with a warm worker", 6, poolGet),
	streamRow(),
	raceRow("Unshare(User)", 4, makeUser),
	{name: "Unshare(User) and the launcher", measure: makeUserAndLauncher, once: 10 * time.Second, each: 200 * time.Millisecond},
	raceRow("Unshare(Net)", 2, makeNet),
	{name: "flat in heap", measure: flatInHeap, once: 8 * time.Second, each: 8 * time.Second},
	{name: "a Set without processes", measure: emptySet, once: time.Second},
	{name: "idle worker", measure: idleWorker, once: time.Second},
}, burdenRows(), warmRows())

// made makes a Set that is closed with the race, and says who may.
func (r *race) made(types gonso.Type) (*gonso.Set, error) {
	s, err := gonso.Unshare(types)
	if err != nil {
		if types&gonso.User == 0 {
			return nil, possible("needs root", err)
		}
		return nil, possible("needs user namespaces", err)
	}
	r.close = append(r.close, s.Close)
	return s, nil
}

// ns is a namespace of a Set and where to come back to, by hand.
type ns struct {
	typ, in, home int
}

func (r *race) byHand(s *gonso.Set, types gonso.Type) ([]ns, error) {
	home, err := gonso.Current(types)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, home.Close)
	var all []ns
	for _, t := range []gonso.Type{gonso.Cgroup, gonso.Net, gonso.UTS} {
		if types&t == 0 {
			continue
		}
		n := ns{typ: int(t)}
		for from, fd := range map[*gonso.Set]*int{s: &n.in, home: &n.home} {
			f, err := from.File(t)
			if err != nil {
				return nil, err
			}
			r.close = append(r.close, f.Close)
			*fd = int(f.Fd())
		}
		all = append(all, n)
	}
	return all, nil
}

// inAndOut is what no implementation does with less: a goroutine of its own,
// locked, one setns a type there and back.
func inAndOut(all []ns, restore bool) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, n := range all {
			if err := unix.Setns(n.in, n.typ); err != nil {
				done <- err
				return
			}
		}
		if restore {
			for _, n := range all {
				if err := unix.Setns(n.home, n.typ); err != nil {
					done <- err
					return
				}
			}
			runtime.UnlockOSThread()
		}
		done <- nil
	}()
	return <-done
}

func nothing() bool { return true }

func doRestored(types gonso.Type) (_ *race, err error) {
	r := &race{limit: 1.25}
	defer r.abandon(&err)
	s, err := r.made(types)
	if err != nil {
		return nil, err
	}
	all, err := r.byHand(s, types)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"setns in and out, fresh goroutine", again(func() error { return inAndOut(all, true) })},
		{"gonso", again(func() error { return s.Do(true, nothing) })},
	}
	if types != gonso.Net {
		return r, nil
	}
	file, err := s.File(gonso.Net)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, file.Close)
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
	peer, err := cni.GetNS(path)
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, peer.Close)
	r.ways = append(r.ways,
		way{"CNI ns.Do", again(func() error { return peer.Do(func(cni.NetNS) error { return nil }) })},
		way{"vishvananda/netns by hand", again(func() error { return byNetns(netns.NsHandle(file.Fd())) })},
	)
	return r, nil
}

// abandon closes what a race has opened before it failed.
func (r *race) abandon(err *error) {
	if *err != nil {
		*err = errors.Join(*err, r.Close())
	}
}

// byNetns is as that package's documentation shows it.
func byNetns(ns netns.NsHandle) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	return netns.Set(home)
}

func doDropped() (_ *race, err error) {
	r := &race{limit: 1.15}
	defer r.abandon(&err)
	s, err := r.made(gonso.Net)
	if err != nil {
		return nil, err
	}
	all, err := r.byHand(s, gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"setns, goroutine ends locked", again(func() error { return inAndOut(all, false) })},
		{"gonso", again(func() error { return s.Do(false, nothing) })},
	}
	return r, nil
}

func threadCall() (_ *race, err error) {
	r := &race{}
	defer r.abandon(&err)
	s, err := r.made(gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"Do restored", again(func() error { return s.Do(true, nothing) })},
		{"gonso", again(func() error { return called(echo.Do(context.Background(), s, point{1, 2, "x"})) })},
	}
	return r, nil
}

func called(p point, err error) error {
	if err == nil && p != (point{1, 2, "x"}) {
		err = fmt.Errorf("the function gave %v", p)
	}
	return err
}

func call(s *gonso.Set) error { return callOf(echo, s) }

func callOf(f *gonso.Func[point, point], s *gonso.Set) error {
	return called(f.Do(context.Background(), s, point{1, 2, "x"}, gonso.InProcess()))
}

func warmCall(f *gonso.Func[point, point]) (_ *race, err error) {
	r := &race{limit: 1.5}
	defer r.abandon(&err)
	s, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	trip, stop, err := startEcho()
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, stop)
	r.ways = []way{
		{"socketpair, two Go processes", again(trip)},
		{"gonso", again(func() error { return callOf(f, s) })},
	}
	return r, nil
}

func warmCallAndReexec() (_ *race, err error) {
	r := &race{limit: -40}
	defer r.abandon(&err)
	s, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"moby/sys/reexec.Command, run", again(func() error { return mobyreexec.Command("bench-peer").Run() })},
		{"gonso", again(func() error { return call(s) })},
	}
	return r, nil
}

// coldCalls starts a worker for each call. Its end is waited for, but not
// counted: the call has returned.
func coldCalls(base *gonso.Set, n int) (took time.Duration, err error) {
	for range n {
		start := time.Now()
		s, err := base.Dup()
		if err != nil {
			return 0, err
		}
		err = call(s)
		took += time.Since(start)
		if err := errors.Join(err, s.Close()); err != nil {
			return 0, err
		}
	}
	return took, nil
}

func coldCall() (_ *race, err error) {
	r := &race{limit: 1.5}
	defer r.abandon(&err)
	base, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"os/exec of this program", again(func() error { return asRole("bench-nothing").Run() })},
		{"gonso", func(n int) (time.Duration, error) { return coldCalls(base, n) }},
		{"gonso, and Close", again(func() error {
			_, err := coldCalls(base, 1)
			return err
		})},
		{"os/exec with CLONE_NEWUSER", again(func() error {
			cmd := asRole("bench-nothing")
			cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			return cmd.Run()
		})},
	}
	return r, nil
}

func coldCallPIDTime() (_ *race, err error) {
	r := &race{limit: 1.3}
	defer r.abandon(&err)
	base, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	all, err := r.made(gonso.User | gonso.Net | gonso.PID | gonso.Time)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"user and net", func(n int) (time.Duration, error) { return coldCalls(base, n) }},
		{"with pid and time", func(n int) (time.Duration, error) { return coldCalls(all, n) }},
	}
	return r, nil
}

func unshareUser() error {
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		return err
	}
	return s.Close()
}

func makeUser() (_ *race, err error) {
	r := &race{} // the target is measured in makeUserAndLauncher
	defer r.abandon(&err)
	if _, err := r.made(gonso.User); err != nil {
		return nil, err
	}
	tiny, err := tinyELF()
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, tiny.Close)
	r.ways = []way{
		{"os/exec of a static ELF of 129 bytes", again(func() error { return runTiny(tiny, nil) })},
		{"gonso", again(unshareUser)},
		{"os/exec of it with CLONE_NEWUSER", again(func() error {
			return runTiny(tiny, &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER})
		})},
		{tracedWay, again(unshareTraced)},
	}
	return r, nil
}

func makeNet() (_ *race, err error) {
	r := &race{}
	defer r.abandon(&err)
	s, err := r.made(gonso.Net)
	if err != nil {
		return nil, err
	}
	all, err := r.byHand(s, gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"unshare, open, setns home, close", again(func() error { return unshareByHand(all[0]) })},
		{"gonso", again(func() error {
			s, err := gonso.Unshare(gonso.Net)
			if err != nil {
				return err
			}
			return s.Close()
		})},
	}
	return r, nil
}

func unshareByHand(n ns) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(n.typ)
		if err != nil {
			done <- err
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
			if err = unix.Setns(n.home, n.typ); err == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	return <-done
}
