package main

import (
	"fmt"
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

// echoELF does what rawBack does, without a Go runtime: that looks after a thread that does not come back
// from a system call, which takes CPU time when calls are rare.
func echoELF() (*os.File, error) {
	return staticELF(62, []byte{
		0x31, 0xc0, // again: xor eax, eax (read)
		0xbf, 3, 0, 0, 0, // mov edi, 3
		0x48, 0x8d, 0x74, 0x24, 0xc0, // lea rsi, [rsp-64]
		0xba, message, 0, 0, 0, // mov edx, 64
		0x0f, 0x05, // syscall
		0x85, 0xc0, // test eax, eax
		0x7e, 0x10, // jle end
		0x89, 0xc2, // mov edx, eax
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 4, 0, 0, 0, // mov edi, 4
		0x0f, 0x05, // syscall
		0xeb, 0xd9, // jmp again
		0x31, 0xff, // end: xor edi, edi
		0xb8, 60, 0, 0, 0, // mov eax, exit
		0x0f, 0x05, // syscall
	})
}

// rawBack is the other end on processors that echoELF has no code for: it reads 3 and writes 4.
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
	cmd := asRole("bench-raw")
	if runtime.GOARCH == "amd64" {
		elf, err := echoELF()
		if err != nil {
			return nil, err
		}
		defer elf.Close()
		cmd = programOf(elf)
	}
	or, ow, tr, tw, err := pair()
	if err != nil {
		return nil, err
	}
	theirs := []*os.File{os.NewFile(uintptr(tr), "read"), os.NewFile(uintptr(tw), "write")}
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
			n, err := rawIO(unix.SYS_READ, or, b)
			if err == nil && n != message {
				err = fmt.Errorf("%d bytes came back", n)
			}
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
