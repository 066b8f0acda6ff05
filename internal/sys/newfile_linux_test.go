package sys

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel alone answers for keeps its deadlines, and files keep their flags.
func TestNewFile(t *testing.T) {
	var pipe, pair [2]int
	err := errors.Join(unix.Pipe2(pipe[:], unix.O_NONBLOCK), func() (err error) {
		pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		return err
	}())
	file, ferr := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_DIRECTORY, 0)
	counter, cerr := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err := errors.Join(err, ferr, cerr); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name               string
		fd                 int
		deadline, nonblock bool
	}{
		{"a pipe", pipe[0], true, true}, {"its other end", pipe[1], true, true}, {"a socket", pair[0], true, true}, {"its peer", pair[1], true, true},
		{"a directory", file, false, true}, {"an eventfd", counter, false, false},
	} {
		f := NewFile(tt.fd, tt.name)
		if err := f.SetDeadline(time.Now()); errors.Is(err, os.ErrNoDeadline) == tt.deadline {
			t.Errorf("%s: %v", tt.name, err)
		}
		if flags, err := unix.FcntlInt(uintptr(tt.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 != tt.nonblock {
			t.Errorf("%s: flags %#x, %v", tt.name, flags, err)
		}
		f.Close()
	}
}
