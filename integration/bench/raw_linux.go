package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/integration/bench/single"
)

// What two processes need at least, as C has it: blocking descriptors, and system calls of which the
// Go runtime hears nothing.

// rawIO is read(2) or write(2).
func rawIO(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}

// rawBack is the other end: it reads 3 and writes 4.
func rawBack() {
	runtime.LockOSThread()
	b := make([]byte, message)
	for {
		n, err := rawIO(unix.SYS_READ, 3, b)
		if err != nil || n == 0 {
			return
		}
		if _, err := rawIO(unix.SYS_WRITE, 4, b[:n]); err != nil {
			return
		}
	}
}

// openRaw starts the other end of a pair of channels: ours are read from and written to by this
// process.
func openRaw(pair func() (ourRead, ourWrite, theirRead, theirWrite int, err error)) (*single.Opened, error) {
	or, ow, tr, tw, err := pair()
	if err != nil {
		return nil, err
	}
	theirs := []*os.File{os.NewFile(uintptr(tr), "read"), os.NewFile(uintptr(tw), "write")}
	cmd := asRole("bench-raw")
	cmd.ExtraFiles = theirs
	err = cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	closeOurs := func() {
		unix.Close(or)
		if ow != or {
			unix.Close(ow)
		}
	}
	if err != nil {
		closeOurs()
		return nil, err
	}
	b := make([]byte, message)
	return &single.Opened{
		PID: cmd.Process.Pid, Locked: true,
		Call: func(int) error {
			if _, err := rawIO(unix.SYS_WRITE, ow, b); err != nil {
				return err
			}
			_, err := rawIO(unix.SYS_READ, or, b)
			return err
		},
		Close: func() error {
			closeOurs()
			return cmd.Wait()
		},
	}, nil
}

func twoPipes() (ourRead, ourWrite, theirRead, theirWrite int, err error) {
	var there, back [2]int
	if err := unix.Pipe2(there[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, 0, 0, os.NewSyscallError("pipe2", err)
	}
	if err := unix.Pipe2(back[:], unix.O_CLOEXEC); err != nil {
		unix.Close(there[0])
		unix.Close(there[1])
		return 0, 0, 0, 0, os.NewSyscallError("pipe2", err)
	}
	return back[0], there[1], there[0], back[1], nil
}

func socketPair() (ourRead, ourWrite, theirRead, theirWrite int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, 0, 0, os.NewSyscallError("socketpair", err)
	}
	again, err := unix.FcntlInt(uintptr(fds[1]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return 0, 0, 0, 0, os.NewSyscallError("fcntl", err)
	}
	return fds[0], fds[0], fds[1], again, nil
}
