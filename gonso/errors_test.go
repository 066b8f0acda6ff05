package gonso

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
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
		errs[name+" in a call"] = callError(User, err)
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
	errs["worker closed"] = callError(User, reexec.ErrWorkerClosed)
	errs["launch"] = &reexec.LaunchError{Op: "setns", Step: "setns net", Err: syscall.EPERM}
	errs["refused launch"] = launchError(0, errs["launch"])
	errs["no context"] = new(Set).Command(nil, "true").Run() //nolint:staticcheck // it is what is tested
	errs["no command"] = new(Cmd).Run()
	closed := new(Set)
	closed.Close()
	_, errs["closed"] = closed.Dup()
	errs["closed for closures"] = closed.Plan().Closures.Err
	ev := &subIDEvidence{user: "x"}
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
