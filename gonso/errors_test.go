package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/reexec"
)

// Who reads an error sees once that it is gonso's, wherever it comes from.
func TestErrorsBeginWithGonsoOnce(t *testing.T) {
	errs := make(map[string]error)
	for name, err := range sentinels {
		errs[name] = err
		errs[name+" in an Error"] = newError("open", Net, "/x", err)
		errs[name+" in two"] = newError("open", Net, "/x", newError("open", 0, "", fmt.Errorf("%w: and so on", err)))
		errs[name+" launching"] = launchError(User, err)
		errs[name+" ends a worker"] = &reexec.DiedError{Status: "exit status 1", Cause: err}
		errs[name+" in a call"] = newCore().workerError("call", "f", err)
	}
	_, errs["zero Type"] = Unshare(0)
	_, errs["no files"] = Open()
	_, errs["nil file"] = FromFiles(nil)
	_, errs["missing"] = Open("/nonexistent/net")
	_, errs["no pid"] = FromPID(-1)
	_, errs["a type"] = ParseType("nonsense")
	_, errs["a type that is not there"] = new(Set).ID(Net)
	_, errs["no pool"] = NewPool(nil, PoolOptions{})
	errs["pool closed"] = errPoolClosed
	errs["no closure"] = new(Set).Run(nil)
	errs["a closure in a process"] = new(Set).Run(func() error { return nil }, InProcess())
	errs["worker"] = new(Set).SetWorker(Worker{Grace: -1})
	errs["Unpin of nothing"] = Unpin()
	errs["refused"] = refused("unshare", User, syscall.EPERM)
	errs["worker closed"] = newCore().workerError("call", "f", reexec.ErrWorkerClosed)
	errs["launch"] = &reexec.LaunchError{Op: "setns", Step: "setns net", Err: syscall.EPERM}
	errs["refused launch"] = launchError(0, errs["launch"])
	errs["no context"] = new(Set).Command(nil, "true").Run() //nolint:staticcheck // it is what is tested
	errs["no command"] = new(Cmd).Run()
	closed := new(Set)
	closed.Close()
	_, errs["closed"] = closed.Dup()
	errs["closed for closures"] = closed.Plan().Closures.Err
	ev := &subIDEvidence{subIDUser: subIDUser{user: "x"}}
	_, errs["no subordinate ids"] = ev.maps(os.Getpagesize())
	for name, err := range errs {
		if err == nil || !strings.HasPrefix(err.Error(), "gonso: ") || strings.Count(err.Error(), "gonso: ") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an Error has for a path is not said again, but nothing else is lost.
func TestErrorSaysItsPathOnce(t *testing.T) {
	missing := func(path string) error { return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT} }
	for _, c := range []struct {
		path string
		err  error
		want string
	}{
		{"/d/net", missing("/d/net"), "gonso: open /d/net: no such file or directory"},
		{"/d/net", missing("net"), "gonso: open /d/net: no such file or directory"},
		{"/d/net", missing("et"), "gonso: open /d/net: open et: no such file or directory"},
		{"/d/net", missing("/e"), "gonso: open /d/net: open /e: no such file or directory"},
		{"/d/net", missing(""), "gonso: open /d/net: open : no such file or directory"},
		{"", missing("/d"), "gonso: open: open /d: no such file or directory"},
		{"/d/net", fmt.Errorf("twice: %w", missing("/d/net")), "gonso: open /d/net: twice: open /d/net: no such file or directory"},
		{"tool", &exec.Error{Name: "tool", Err: exec.ErrNotFound}, "gonso: open tool: executable file not found in $PATH"},
		{"other", &exec.Error{Name: "tool", Err: exec.ErrNotFound}, `gonso: open other: exec: "tool": executable file not found in $PATH`},
	} {
		if got := newError("open", 0, c.path, c.err); got.Error() != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// A nil Set cannot make a program panic, not by any of its methods.
func TestNilSetIsAnErrorEverywhere(t *testing.T) {
	var s *Set
	ctx := t.Context()
	only := func(_ any, err error) error { return err }
	methods := map[string]func() error{
		"Close":           s.Close,
		"Command":         func() error { return s.Command(ctx, "true").Run() },
		"DialContext":     func() error { return only(s.DialContext(ctx, "tcp", "localhost:1")) },
		"Dialer":          func() error { return only(s.Dialer(net.Dialer{}).Dial("unix", "/nonexistent")) },
		"Do":              func() error { return s.Do(true, func() bool { return true }) },
		"Dup":             func() error { return only(s.Dup()) },
		"File":            func() error { return only(s.File(Net)) },
		"Go":              func() error { return s.Go(nil, func() {}) },
		"ID":              func() error { return only(s.ID(Net)) },
		"IDMaps":          func() error { _, _, err := s.IDMaps(); return err },
		"InterfaceByName": func() error { return only(s.InterfaceByName(ctx, "lo")) },
		"Interfaces":      func() error { return only(s.Interfaces(ctx)) },
		"Listen":          func() error { return only(s.Listen(ctx, "tcp", "localhost:0")) },
		"ListenConfig":    func() error { return only(s.ListenConfig(net.ListenConfig{}).Listen(ctx, "unix", "/nonexistent/s")) },
		"ListenPacket":    func() error { return only(s.ListenPacket(ctx, "udp", "localhost:0")) },
		"OpenFile":        func() error { return only(s.OpenFile(ctx, "/", os.O_RDONLY, 0)) },
		"Owner":           func() error { return only(s.Owner(Net)) },
		"OwnerUID":        func() error { return only(s.OwnerUID()) },
		"Parent":          func() error { return only(s.Parent(User)) },
		"Pin":             func() error { return s.Pin("/nonexistent") },
		"PinNS":           func() error { return s.PinNS(Net, "/nonexistent/net") },
		"Plan": func() error {
			p := s.Plan()
			if p.Set != "{nil}" || p.Closures.Err != p.Functions.Err {
				t.Errorf("Plan: %v", p)
			}
			return p.Closures.Err
		},
		"Resolver":  func() error { return only(s.Resolver().Dial(ctx, "udp", "127.0.0.1:53")) },
		"Run":       func() error { return s.Run(func() error { return nil }) },
		"Self":      func() error { return s.Self(ctx).Run() },
		"SetWorker": func() error { return s.SetWorker(Worker{}) },
		"Socket":    func() error { return only(s.Socket(ctx, 2, 1, 0)) },
		"Unshare":   func() error { return only(s.Unshare(Net)) },
		"Wait":      func() error { return s.Wait(ctx) },
		"Warm":      func() error { return s.Warm(ctx) },
		"With":      func() error { return only(s.With(new(Set))) },
		"Without":   func() error { return only(s.Without(Net)) },

		// These say it without an error.
		"Fd": nil, "Has": nil, "String": nil, "Types": nil,
	}
	if s.Fd(Net) >= 0 || s.Has(Net) || s.Types() != 0 || s.String() != "{nil}" {
		t.Errorf("Has %v, Types %v, String %v", s.Has(Net), s.Types(), s)
	}
	typ := reflect.TypeFor[*Set]()
	for i := range typ.NumMethod() {
		if _, ok := methods[typ.Method(i).Name]; !ok {
			t.Errorf("%s is not tried", typ.Method(i).Name)
		}
	}
	methods["Cmd.StdoutPipe"] = func() error {
		c := s.Command(ctx, "true")
		r, err := c.StdoutPipe()
		if err != nil {
			t.Errorf("StdoutPipe: %v", err)
		}
		err = c.Start()
		if n, rerr := r.Read(make([]byte, 1)); n != 0 || rerr == io.EOF || rerr == nil {
			t.Errorf("the pipe of a command that was not started: %d, %v", n, rerr)
		}
		return err
	}
	methods["Func.Do"] = func() error { return only(nilSetFunc.Do(ctx, s, 1)) }
	methods["With nil"] = func() error {
		if runtime.GOOS != "linux" { // no other Set can be used
			return only(s.With(nil))
		}
		return only(new(Set).With(nil))
	}
	for name, f := range methods {
		if f == nil {
			continue
		}
		err := f()
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Err != errNilSet || !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "the Set is nil") {
			t.Errorf("%s: %v", name, err)
		}
		var oe *net.OpError
		if network := strings.HasPrefix(name, "Dial") || name == "Resolver" || strings.HasPrefix(name, "Listen"); errors.As(err, &oe) != network {
			t.Errorf("%s: %T", name, err)
		}
	}
}

var nilSetFunc = Register("a nil Set", func(_ context.Context, n int) (int, error) { return n, nil })
