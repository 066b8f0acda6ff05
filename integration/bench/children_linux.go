package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// roles are what this program does if started under another argv[0].
var roles = map[string]func(){
	"bench-nothing": func() {},
	"bench-echo":    echoBack,
	"bench-block":   func() { os.Stdin.Read(make([]byte, 1)) },
	"bench-burden":  serveBurden,
	"bench-raw":     rawBack,
	"bench-hand":    serveHand,
}

// asRole is this program under that name.
func asRole(name string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{name}, args...), Stderr: os.Stderr}
}

func init() { mobyreexec.Register("bench-peer", func() {}) }

// message is about what the small value of a call comes to with its frame.
const message = 64

// echoBack is the other end of the floor of a call: of as many sockets as its argument says.
func echoBack() {
	n := 1
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { echoOne(3 + i) })
	}
	all.Wait()
}

func echoOne(fd int) {
	unix.SetNonblock(fd, true)
	f := os.NewFile(uintptr(fd), "socket")
	b := make([]byte, message)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		if _, err := f.Write(b[:n]); err != nil {
			return
		}
	}
}

// startEcho gives a round trip to another Go process.
func startEcho() (trip, stop func() error, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	unix.SetNonblock(fds[0], true)
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer theirs.Close()
	cmd := asRole("bench-echo")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, nil, err
	}
	b := make([]byte, message)
	trip = func() error {
		if _, err := ours.Write(b); err != nil {
			return err
		}
		_, err := ours.Read(b)
		return err
	}
	stop = func() error {
		ours.Close()
		return cmd.Wait()
	}
	return trip, stop, nil
}

// tinyELF is a static executable that exits: what starting a process costs when
// the program in it does nothing.
func tinyELF() (*os.File, error) {
	if runtime.GOARCH == "arm64" {
		return staticELF(183, []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}) // mov x0, 0; mov x8, exit; svc
	}
	return staticELF(62, []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}) // xor edi, edi; mov eax, exit; syscall
}

// staticELF is a static executable of this code.
func staticELF(machine uint16, code []byte) (*os.File, error) {
	const base, headers = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+headers) // entry
	b = le.AppendUint64(b, 64)           // program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // R+X
	size := uint64(headers + len(code))
	for _, v := range []uint64{0, base, base, size, size, 4096} {
		b = le.AppendUint64(b, v)
	}
	b = append(b, code...)

	fd, err := unix.MemfdCreate("tiny", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tiny")
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Chmod(0o555); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// runTiny starts it as os/exec does, and waits.
func runTiny(f *os.File, attr *unix.SysProcAttr) error {
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	cmd.SysProcAttr = attr
	return cmd.Run()
}

// point is a small argument and result.
type point struct {
	X, Y int
	Name string
}

func same(_ context.Context, p point) (point, error) { return p, nil }

var (
	echo      = gonso.Register("bench.echo", same, gonso.LeavesThreadClean())
	plainEcho = gonso.Register("bench.echo.plain", same)
)

var pid = gonso.Register("bench.pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })
