package reexec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
)

// A rehearsal closes copies, and nothing of this program's: no lock is lost, no copy is left.
func TestRehearsalCannotBeNoticed(t *testing.T) {
	testenv.Leaks(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "locked"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var many []*os.File // so that the table of files grows
	for range 300 {
		d, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, d)
	}
	threads := make(chan struct{})
	go func() {
		defer close(threads)
		for range 20 {
			var re rehearsals
			if err := re.rehearse(t.Context()); err != nil || re.stuck != nil {
				t.Errorf("%v, stuck %v", err, re.stuck != nil)
			}
		}
	}()
	<-threads
	for _, d := range many {
		d.Close()
	}
	w.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	other, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lock = unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_GETLK, &lock); err != nil || lock.Type != unix.F_WRLCK {
		t.Errorf("the lock is lost: type %d, %v", lock.Type, err)
	}
}

// While a file system does not answer, one thread waits for it, however often it is tried, and the
// garbage collector goes on.
func TestSilentFileCannotHoldMoreThanOneThread(t *testing.T) {
	end := holdSilent(t)
	var re rehearsals
	var first <-chan struct{}
	for n := range 2*runtime.GOMAXPROCS(0) + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := re.rehearse(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, sys.ErrLeftBehind) {
			t.Fatalf("%v", err)
		}
		if n == 0 {
			first = re.stuck
		}
		if first == nil || re.stuck != first {
			t.Error("another thread was left behind")
		}
		runtime.GC()
	}
	end()
	if err := re.rehearse(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
