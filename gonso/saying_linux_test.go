package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

type noSignal struct{}

func (noSignal) Signal()        {}
func (noSignal) String() string { return "no signal" }

// What was wrong with an option, or a field, begins with its name: behind "gonso: " and what was asked
// for comes nothing else.
func TestErrorAboutAnOptionCannotHideItsName(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	ctx := t.Context()
	plain, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	s, zero := unshare(t, User|Mount), new(Set)
	do := func(opts ...DoOption) error { return zero.Run(func() error { return nil }, opts...) }
	call := func(opts ...DoOption) error {
		_, err := threadInside.Do(ctx, s, struct{}{}, opts...)
		return err
	}
	command := func(change func(c *Cmd)) error {
		c := s.Command(ctx, "true")
		change(c)
		return c.Run()
	}
	worker := func(w Worker) error {
		d := owned(t)(s.Dup())
		if err := d.SetWorker(w); err != nil {
			return err
		}
		return d.Warm(ctx)
	}
	made := func(types Type, opts ...UnshareOption) error {
		s, err := Unshare(types, opts...)
		if err == nil {
			s.Close()
		}
		return err
	}
	pool := func(o PoolOptions) error {
		_, err := NewPool(func(context.Context) (*Set, error) { return nil, nil }, o)
		return err
	}
	script := openedWith(t, "#!/bin/sh\n")
	if err := script.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		err  error
		is   error
	}{
		{"Root", do(Root(nil)), os.ErrInvalid},
		{"Root", do(Root(plain)), unix.ENOTDIR},
		{"Root", call(Root(plain)), unix.ENOTDIR},
		{"Root", do(Root(closedFile(t))), os.ErrClosed},
		{"Root", call(Root(closedFile(t))), os.ErrClosed},
		{"Dir", do(Dir("")), os.ErrInvalid},
		{"Dir", do(Dir("a\x00")), os.ErrInvalid},
		{"Dir", do(Dir("/gonso/none")), fs.ErrNotExist},
		{"Dir", call(Dir("/gonso/none")), fs.ErrNotExist},
		{"Umask", do(Umask(0o1000)), os.ErrInvalid},
		{"Isolated", do(Isolated()), os.ErrInvalid},
		{"WaitDelay", do(WaitDelay(1)), os.ErrInvalid},
		{"InThread and InProcess", do(InThread(), InProcess()), os.ErrInvalid},
		{"InThread and Isolated", call(InThread(), Isolated()), os.ErrInvalid},

		{"Grace", worker(Worker{Grace: -1}), os.ErrInvalid},
		{"StartTimeout", worker(Worker{StartTimeout: -1}), os.ErrInvalid},
		{"Dir", worker(Worker{Dir: "."}), os.ErrInvalid},
		{"Path", worker(Worker{Path: "x"}), os.ErrInvalid},
		{"Cgroup", worker(Worker{Cgroup: "/etc"}), nil},
		{"Env", worker(Worker{Env: []string{"A=\x00"}}), os.ErrInvalid},
		{"Rlimits", worker(Worker{Rlimits: []Rlimit{{Resource: 99}}}), os.ErrInvalid},
		{"Worker.Dir", worker(Worker{Dir: "/gonso/none"}), fs.ErrNotExist},
		{"Worker.Path", worker(Worker{Path: "/gonso/none"}), fs.ErrNotExist},
		{"Worker.Path", worker(Worker{Path: "/etc/passwd"}), nil},

		{"Dir", command(func(c *Cmd) { c.Dir = "/gonso/none" }), fs.ErrNotExist},
		{"Dir", command(func(c *Cmd) { c.Dir = "/etc/passwd" }), unix.ENOTDIR},
		{"Dir", command(func(c *Cmd) { c.Dir = "a\x00" }), os.ErrInvalid},
		{"Chroot", command(func(c *Cmd) { c.Chroot = "/gonso/none" }), fs.ErrNotExist},
		{"Path", command(func(c *Cmd) { c.Path = "/a\x00" }), os.ErrInvalid},
		{"Args[1]", command(func(c *Cmd) { c.Args = []string{"a", "b\x00"} }), unix.EINVAL},
		{"Env", command(func(c *Cmd) { c.Env = []string{"A=\x00"} }), os.ErrInvalid},
		{"AmbientCaps", command(func(c *Cmd) { c.AmbientCaps = []uintptr{64} }), os.ErrInvalid},
		{"Ctty", command(func(c *Cmd) { c.Setsid, c.Setctty, c.Ctty = true, true, 3 }), os.ErrInvalid},
		{"Ctty", command(func(c *Cmd) { c.Setsid, c.Setctty, c.Ctty = true, true, 0 }), unix.ENOTTY},
		{"Pdeathsig", command(func(c *Cmd) { c.Pdeathsig = noSignal{} }), os.ErrInvalid},
		{"Cgroup", command(func(c *Cmd) { c.Cgroup = plain }), unix.EBADF},
		{"Exe", command(func(c *Cmd) { c.Exe = plain }), fs.ErrPermission},
		{"Exe", command(func(c *Cmd) { c.Exe = script }), os.ErrInvalid},
		{"ExtraFiles[1]", command(func(c *Cmd) { c.ExtraFiles = []*os.File{nil, closedFile(t)} }), os.ErrClosed},

		{"Propagation", made(User|Mount, Propagation(9)), os.ErrInvalid},
		{"Propagation", made(User, Propagation(PropagationSlave)), os.ErrInvalid},
		{"IDMaps", made(User, IDMaps(nil, nil)), os.ErrInvalid},
		{"IDMaps and NoIDMaps", made(User, IDMaps(nil, nil), NoIDMaps()), os.ErrInvalid},
		{"SubIDs and NoIDMaps", made(User, SubIDs(), NoIDMaps()), os.ErrInvalid},
		{"LoopbackUp", made(User, LoopbackUp()), os.ErrInvalid},
		{"MountProc", made(User, MountProc()), os.ErrInvalid},

		{"Size", pool(PoolOptions{Size: -1}), os.ErrInvalid},
		{"Parallel", pool(PoolOptions{Parallel: -1}), os.ErrInvalid},
		{"Timeout", pool(PoolOptions{Timeout: -time.Second}), os.ErrInvalid},
	} {
		// What was asked for, with types and the name of a function.
		begins := regexp.MustCompile(`^gonso: [a-z]+( worker| pool)?(: | [a-z|]+: | test\.[a-z-]+: | )` + regexp.QuoteMeta(tt.name) + `( |: )`)
		if tt.err == nil || !begins.MatchString(tt.err.Error()) || tt.is != nil && !errors.Is(tt.err, tt.is) {
			t.Errorf("%s: %v; want %v", tt.name, tt.err, tt.is)
		}
	}
	// What the kernel does to several is told apart by what was asked for.
	for _, of := range []struct {
		err *Error
		o   unshareOptions
	}{
		{&Error{Op: "mount", Type: Net, Path: "/x", Err: unix.EPERM}, unshareOptions{fresh: []freshMount{{option: "MountProc"}}}},
		{&Error{Op: "ioctl", Type: Net, Err: unix.EPERM}, unshareOptions{loopbackUp: true}},
	} {
		err := of.o.naming(of.err)
		if !strings.HasPrefix(err.Error(), "gonso: "+of.err.Op+" net") || !regexp.MustCompile(": (MountProc|LoopbackUp): ").MatchString(err.Error()) || !errors.Is(err, unix.EPERM) {
			t.Errorf("%v", err)
		}
	}
}

type ring struct{ Next *ring }

var (
	takesRing = Register("test.saying.ring", func(context.Context, *ring) (int, error) { return 0, nil })
	takesAny  = Register("test.saying.any", func(_ context.Context, v any) (any, error) { return v, nil })
	givesAny  = Register("test.saying.gives", func(context.Context, struct{}) (any, error) { return map[int]string{1: ""}, nil })
	takesChan = Register("test.saying.chan", func(context.Context, chan int) (chan int, error) { return nil, nil })
)

// Errors about values say once what is wrong, in a line, and what to do.
func TestErrorAboutAValueIsOneThatCanBeRead(t *testing.T) {
	testenv.Need(t, testenv.Process)
	loop := &ring{}
	loop.Next = loop
	s := new(Set)
	for _, opt := range []DoOption{InThread(), InProcess()} {
		_, err := takesRing.Do(t.Context(), s, loop, opt)
		if err == nil || len(err.Error()) > 400 || !strings.Contains(err.Error(), "or a cycle") || !strings.Contains(err.Error(), "Next.Next.(") {
			t.Errorf("a cycle: %v", err)
		}
		for what, v := range map[string]any{"map": map[int]string{1: ""}, "map[string]any": map[string]any{"a": map[int]string{1: ""}}} {
			_, err = takesAny.Do(t.Context(), s, v, opt)
			if err == nil || !strings.Contains(err.Error(), "encode argument of test.saying.any: cannot encode map[int]string") ||
				!strings.Contains(err.Error(), "only maps with string keys can cross; give it the type map[int]string in place of any") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err = givesAny.Do(t.Context(), s, struct{}{}, opt); err == nil || !strings.Contains(err.Error(), "give it the type map[int]string") {
			t.Errorf("a result: %v", err)
		}
		if v, err := takesAny.Do(t.Context(), s, map[string]int{"a": 1}, opt); err != nil || !reflect.DeepEqual(v, map[string]any{"a": int64(1)}) {
			t.Errorf("%v, %v", v, err)
		}
		if v, err := takesAny.Do(t.Context(), s, nil, opt); err != nil || v != nil {
			t.Errorf("%v, %v", v, err)
		}
		_, err = takesChan.Do(t.Context(), s, nil, opt)
		if err == nil || strings.Count(err.Error(), "chan int") != 1 || !strings.Contains(err.Error(), "its argument and result: ") {
			t.Errorf("the same type twice: %v", err)
		}
	}
	late := Register("test.saying.late."+fmt.Sprint(time.Now().UnixNano()), func(context.Context, int) (int, error) { return 0, nil })
	_, err := late.Do(t.Context(), s, 1, InProcess())
	wantError(t, "registered too late", err, ErrNotRegistered, "package-level variable", "gonso.Init")
	_, err = ParseType("network")
	wantError(t, "ParseType", err, os.ErrInvalid, `"network"`, "cgroup, ipc, mnt, net, pid, time, user, uts")
}

// A new net namespace has no 127.0.0.1 before lo is up.
func TestLoopbackThatIsDownCannotBeTakenForTheNetwork(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	sets := map[string]*Set{"user+net": unshare(t, User|Net)}
	if testenv.Has(testenv.Root) {
		sets["net"] = unshare(t, Net)
	}
	up := unshare(t, User|Net, LoopbackUp())
	for name, s := range sets {
		for _, address := range []string{"127.0.0.1:9", "127.3.2.1:9", "[::1]:9"} {
			for _, network := range []string{"tcp", "udp"} {
				_, err := s.DialContext(t.Context(), network, address)
				var oe *net.OpError
				if err == nil || !errors.As(err, &oe) || !strings.Contains(err.Error(), "lo is down inside") || !strings.Contains(err.Error(), "LoopbackUp") {
					t.Errorf("%s: %s %s: %v", name, network, address, err)
				}
				if !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EADDRNOTAVAIL) {
					t.Errorf("%s: %s %s: %v", name, network, address, err)
				}
				if _, err := up.DialContext(t.Context(), network, address); err != nil && strings.Contains(err.Error(), "is down") {
					t.Errorf("lo is up: %v", err)
				}
			}
		}
		if _, err := s.Listen(t.Context(), "tcp", "[::1]:0"); err == nil || !strings.Contains(err.Error(), "LoopbackUp") {
			t.Errorf("%s: listen: %v", name, err)
		}
		if _, err := s.ListenPacket(t.Context(), "udp", "[::1]:0"); err == nil || !strings.Contains(err.Error(), "LoopbackUp") {
			t.Errorf("%s: listen for packets: %v", name, err)
		}
		if _, err := s.DialContext(t.Context(), "tcp", "192.0.2.1:9"); !errors.Is(err, unix.ENETUNREACH) || strings.Contains(err.Error(), "LoopbackUp") {
			t.Errorf("%s: another address: %v", name, err)
		}
	}
}
