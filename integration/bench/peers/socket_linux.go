package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/integration/bench/single"
)

// Point is what bench calls with, too.
type Point struct {
	X, Y int
	Name string
}

var want = Point{1, 2, "x"}

func check(p Point, err error) error {
	if err == nil && p != want {
		err = fmt.Errorf("the function gave %v", p)
	}
	return err
}

// startOther starts the other end of a unix socketpair. Its stop closes the connection first, if
// nobody has done that yet.
func startOther(role string) (conn net.Conn, pid int, stop func() error, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close() // net has a duplicate
	defer theirs.Close()
	if conn, err = net.FileConn(ours); err != nil {
		return nil, 0, nil, err
	}
	cmd := exec.Command("/proc/self/exe", role)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, 0, nil, errors.Join(err, conn.Close())
	}
	return conn, cmd.Process.Pid, func() error {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
		return cmd.Wait()
	}, nil
}

// passed is the other end's socket.
func passed() (net.Conn, error) {
	f := os.NewFile(3, "socket")
	defer f.Close()
	return net.FileConn(f)
}

// openGob is what one writes by hand: a value there, a value back, one caller after the other.
func openGob(int) (*single.Opened, error) {
	conn, pid, stop, err := startOther("gob")
	if err != nil {
		return nil, err
	}
	var turn sync.Mutex
	to, from := gob.NewEncoder(conn), gob.NewDecoder(conn)
	return &single.Opened{
		PID: pid,
		Call: func(int) error {
			turn.Lock()
			defer turn.Unlock()
			if err := to.Encode(want); err != nil {
				return err
			}
			var p Point
			err := from.Decode(&p)
			return check(p, err)
		},
		Close: stop,
	}, nil
}

func serveGob() error {
	conn, err := passed()
	if err != nil {
		return err
	}
	to, from := gob.NewEncoder(conn), gob.NewDecoder(conn)
	for {
		var p Point
		if err := from.Decode(&p); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := to.Encode(p); err != nil {
			return err
		}
	}
}

// Service is what net/rpc serves.
type Service struct{}

// Same is the function.
func (Service) Same(in Point, out *Point) error {
	*out = in
	return nil
}

func callRPC(c *rpc.Client, method string) error {
	var p Point
	err := c.Call(method, want, &p)
	return check(p, err)
}

func openRPC(int) (*single.Opened, error) {
	conn, pid, stop, err := startOther("net/rpc")
	if err != nil {
		return nil, err
	}
	c := rpc.NewClient(conn)
	return &single.Opened{
		PID:  pid,
		Call: func(int) error { return callRPC(c, "Service.Same") },
		Close: func() error {
			return errors.Join(c.Close(), stop())
		},
	}, nil
}

func serveRPC() error {
	conn, err := passed()
	if err != nil {
		return err
	}
	s := rpc.NewServer()
	if err := s.Register(Service{}); err != nil {
		return err
	}
	s.ServeConn(conn)
	return nil
}
