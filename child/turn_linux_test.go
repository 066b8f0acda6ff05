package child

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// incoming is a connection without processes: what is run comes over a channel.
type incoming struct {
	turns
	calls   chan incomingCall // closed at the end
	begun   atomic.Int32      // goroutines that have begun to read
	readers atomic.Int32      // that read now
}

type incomingCall struct {
	stay bool
	run  func() (same bool)
}

// newIncoming has one goroutine read.
func newIncoming(t *testing.T) *incoming {
	in := &incoming{calls: make(chan incomingCall)}
	in.read = func() {
		in.begun.Add(1)
		for {
			if n := in.readers.Add(1); n != 1 {
				t.Errorf("%d read at once", n)
			}
			c, more := <-in.calls
			in.readers.Add(-1)
			if !more || !in.run(c.stay, c.run) {
				return
			}
		}
	}
	go in.read()
	return in
}

// reading fails the test unless so many goroutines have begun to read, and one does.
func (in *incoming) reading(t *testing.T, begun int32) {
	t.Helper()
	synctest.Wait()
	if b, r := in.begun.Load(), in.readers.Load(); b != begun || r != 1 {
		t.Errorf("%d have begun to read, want %d; %d read now", b, begun, r)
	}
}

// nobodyReads fails the test if somebody does.
func (in *incoming) nobodyReads(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if r := in.readers.Load(); r != 0 {
		t.Errorf("%d read", r)
	}
}

func nothing() (same bool) { return true }

// Short calls are run in order on the goroutine that reads them, which goes on.
func TestShortCallsStayOnTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIncoming(t)
		var ran []int
		for n := range 100 {
			in.calls <- incomingCall{true, func() bool {
				ran = append(ran, n) // no other goroutine writes it
				return true
			}}
			testenv.Pass(patience / 3) // the timer comes again and again
		}
		in.reading(t, 1)
		if len(ran) != 100 || !slices.IsSorted(ran) {
			t.Errorf("ran %v", ran)
		}
		close(in.calls)
	})
}

// A call that takes long has somebody else read, soon but not at once, and does
// not read afterwards.
func TestLongCallIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIncoming(t)
		end := make(chan struct{})
		in.calls <- incomingCall{true, func() bool { <-end; return true }}
		in.nobodyReads(t)
		testenv.Pass(patience * 9 / 10)
		in.nobodyReads(t)
		begin := time.Now()
		in.calls <- incomingCall{true, nothing} // who takes it
		if d := time.Since(begin); d > 2*patience {
			t.Errorf("nobody read for %v more", d)
		}
		in.reading(t, 2)
		close(end)
		in.reading(t, 2)
		in.calls <- incomingCall{true, nothing}
		in.reading(t, 2)
		close(in.calls)
	})
}

// Who was relieved does not read too, though there was no other call meanwhile.
func TestRelievedCallDoesNotReadToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIncoming(t)
		end := make(chan struct{})
		in.calls <- incomingCall{true, func() bool { <-end; return true }}
		testenv.Pass(2 * patience)
		in.reading(t, 2)
		close(end)
		in.reading(t, 2)
		close(in.calls)
	})
}

// Who comes back late does not take over from a later call for which nobody reads.
func TestLateCallDoesNotTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIncoming(t)
		first, second := make(chan struct{}), make(chan struct{})
		in.calls <- incomingCall{true, func() bool { <-first; return true }}
		in.calls <- incomingCall{true, func() bool { <-second; return true }}
		in.nobodyReads(t)
		close(first)
		in.nobodyReads(t)
		close(second)
		in.reading(t, 2)
		close(in.calls)
	})
}

// Without stay somebody else reads from the beginning.
func TestCallThatDoesNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIncoming(t)
		begin := time.Now()
		var ends []chan struct{}
		for n := range int32(4) {
			end := make(chan struct{})
			ends = append(ends, end)
			in.calls <- incomingCall{false, func() bool { <-end; return true }}
			in.reading(t, n+2)
		}
		for _, end := range ends {
			close(end)
			in.reading(t, 5)
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("it took %v", d)
		}
		close(in.calls)
	})
}

// A call after which the goroutine, or its thread, is not what it was leaves the
// reading to another one.
func TestChangedReaderIsReplaced(t *testing.T) {
	for name, call := range map[string]func() bool{
		"says so": func() bool { return false },
		"exits":   func() bool { runtime.Goexit(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := newIncoming(t)
				for n := range int32(10) {
					in.calls <- incomingCall{n%2 == 0, call}
					in.reading(t, n+2)
				}
				close(in.calls)
			})
		})
	}
}

// Whatever comes from many, all of it is run, and one goroutine reads.
func TestManyCallsTakeTurns(t *testing.T) {
	in := newIncoming(t)
	const callers, each = 64, 100
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range each {
				done := make(chan struct{})
				in.calls <- incomingCall{(i+j)%3 != 0, func() (same bool) {
					defer close(done)
					switch (i * j) % 7 {
					case 0:
						runtime.Goexit()
					case 1:
						runtime.Gosched()
					case 2:
						return false
					}
					return true
				}}
				<-done
			}
		})
	}
	wg.Wait()
	close(in.calls)
}

// A function that took long is slow for a number of its calls.
func TestPace(t *testing.T) {
	var p pace
	p.took(slowCall)
	if p.isSlow() || p.isQuick() {
		t.Errorf("after a call that was neither: slow %v, quick %v", p.isSlow(), p.isQuick())
	}
	if p.took(quickCall); !p.isQuick() {
		t.Error("not quick after a quick call")
	}
	if p.took(quickCall + 1); p.isQuick() {
		t.Error("quick after another")
	}
	for range 2 {
		p.took(slowCall + 1)
		for n := range slowCalls {
			if p.took(1); !p.isSlow() {
				t.Errorf("not slow after %d calls", n)
			}
		}
		if p.isSlow() {
			t.Error("slow for ever")
		}
	}
}

// There are processes that answer what they get as a worker would, in turns or with
// somebody else who reads on from the beginning.
func init() {
	testenv.Program("echo in turns", func() { echo(true) })
	testenv.Program("echo that hands over", func() { echo(false) })
}

func echo(stay bool) {
	const socket = 3
	var t turns
	over := make(chan struct{})
	t.read = func() {
		b := make([]byte, 1<<10)
		for {
			n, err := unix.Read(socket, b)
			if n <= 0 || err != nil {
				close(over)
				return
			}
			reads := t.run(stay, func() bool {
				_, err := unix.Write(socket, b[:n])
				return err == nil
			})
			if !reads {
				return
			}
		}
	}
	go t.read()
	<-over
}

// BenchmarkTurns compares a process that reads in turns with one in which another
// goroutine reads on while a call runs. They take turns; medians are what counts.
func BenchmarkTurns(b *testing.B) {
	start := func(name string) (call func()) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		theirs := os.NewFile(uintptr(fds[1]), "theirs")
		c := testenv.Command(b, name)
		c.ExtraFiles = []*os.File{theirs}
		err = c.Start()
		theirs.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			unix.Close(fds[0])
			c.Wait()
		})
		text, answer := []byte("a short call"), make([]byte, 1<<10)
		return func() {
			if _, err := unix.Write(fds[0], text); err != nil {
				b.Fatal(err)
			}
			if n, err := unix.Read(fds[0], answer); n != len(text) {
				b.Fatal(n, err)
			}
		}
	}
	inTurns, handsOver := start("echo in turns"), start("echo that hands over")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	testenv.Contest(b, "turns", inTurns, "handed-over", handsOver)
}
