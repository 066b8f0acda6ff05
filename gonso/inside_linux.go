package gonso

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// This file opens files and makes sockets inside that are used outside. It also checks inside
// whether a port may be bound. It enters all foreign namespaces of the Set each time. So gonso need
// not know which of them the kernel looks at.

// foreignTypes returns the Set's types that are not home, and its types that somebody else has
// made.
func (s *Set) foreignTypes(ctx context.Context, op string) (foreign, opened Type, err error) {
	c, err := s.acquireFor(ctx, op)
	if err != nil {
		return 0, 0, err
	}
	defer c.release()
	return c.foreign, c.opened, nil
}

// onHomeThread is core.onHomeThread.
func (s *Set) onHomeThread(op string, f func()) error {
	c, err := s.acquire(op)
	if err != nil {
		return err
	}
	defer c.release()
	return c.onHomeThread(f)
}

// insideSet runs f inside the Set. f runs on a thread of this process if a thread can enter.
// Otherwise fn runs in the worker. If the Set has no foreign namespaces, f runs on a thread at
// home, even if the caller's thread is not.
func insideSet[In any](ctx context.Context, s *Set, op string, fn *Func[In, *os.File], in In, f func() (*os.File, error)) (*os.File, error) {
	c, err := s.acquireFor(ctx, op)
	if err != nil {
		return nil, err
	}
	defer c.release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.foreign&^threadEnters != 0 {
		return inWorker(ctx, s, fn, in)
	}
	var file *os.File
	var ferr error
	letGo := func() {
		if file != nil {
			file.Close()
		}
	}
	err = c.runOnThread(ctx, c.threadJoin, func(*threadRun) bool {
		file, ferr = f()
		return true
	}, letGo)
	switch {
	case errors.Is(err, sys.ErrLeftBehind):
		return nil, err
	case err != nil:
		letGo()
		return nil, err
	}
	return file, ferr
}

// inWorker runs a function of gonso in the Set's worker.
func inWorker[In any](ctx context.Context, s *Set, fn *Func[In, *os.File], in In) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout) // it is not the caller's own function
	defer cancel()
	return fn.Do(ctx, s, in, InProcess())
}

type portArgs struct{ Port int }

// bind finds out whether work here may bind the port, and does not take the port. It calls bind a
// second time, for a socket that has another port. The kernel checks the permission first, and then
// answers EINVAL (__inet_bind in net/ipv4/af_inet.c).
func (a portArgs) bind() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: a.Port})
	if err == unix.EACCES || err == unix.EPERM {
		return nil, os.NewSyscallError("bind", err)
	}
	return nil, nil
}

var portInside builtin[portArgs, *os.File]

func registerPort() *Func[portArgs, *os.File] {
	return portInside.get("gonso.port", func(_ context.Context, a portArgs) (*os.File, error) { return a.bind() }, LeavesThreadClean())
}

// mayBind refuses a port that work in the Set could not bind. Package net binds in this process,
// and this process may have more privileges than the Set's user namespace gives.
func (s *Set) mayBind(ctx context.Context, foreign Type, network, address string) error {
	if foreign&User == 0 || !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
		return nil
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil // package net refuses this address itself
	}
	port, err := strconv.Atoi(text)
	if err != nil || port == 0 {
		return nil
	}
	a := portArgs{port}
	_, err = insideSet(ctx, s, "bind", registerPort(), a, a.bind)
	return err
}
