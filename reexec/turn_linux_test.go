package reexec

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
	"github.com/gonso/gonso/internal/wire"
)

// talk is a conversation without a process: what would come over a connection
// comes over a channel.
type talk struct {
	*turns
	frames  chan int // answers to calls by number; closed at the end
	readers atomic.Int32
	t       *testing.T

	mu       sync.Mutex
	calls    map[int]chan struct{}
	answered []int
}

func newTalk(t *testing.T) *talk {
	k := &talk{t: t, frames: make(chan int), calls: make(map[int]chan struct{})}
	k.turns = newTurns(k.read)
	return k
}

func (k *talk) read() (more bool) {
	if n := k.readers.Add(1); n != 1 {
		k.t.Errorf("%d read at once", n)
	}
	defer k.readers.Add(-1)
	n, more := <-k.frames
	if !more {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = append(k.answered, n)
	if done := k.calls[n]; done != nil {
		close(done)
	}
	return true
}

// call returns what await is given, and what is closed once it has returned.
func (k *talk) call(n int) (returned chan struct{}) {
	done := make(chan struct{})
	k.mu.Lock()
	k.calls[n] = done
	k.mu.Unlock()
	returned = make(chan struct{})
	go func() {
		defer close(returned)
		k.await(done)
	}()
	return returned
}

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Answers are handled in the order in which they come, whoever reads, and each
// caller returns with its own.
func TestTurnsKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		const calls = 8
		var returned [calls]chan struct{}
		for n := range calls {
			returned[n] = k.call(n)
			synctest.Wait()
		}
		if n := k.readers.Load(); n != 1 {
			t.Errorf("%d callers read", n)
		}
		order := []int{5, 0, 7, 1, 2, 6, 4, 3} // the one who reads, others, and the last
		for i, n := range order {
			k.frames <- n
			synctest.Wait()
			for n, c := range returned {
				if got, want := over(c), slices.Contains(order[:i+1], n); got != want {
					t.Errorf("after the answers %v: call %d has returned: %v", order[:i+1], n, got)
				}
			}
			if got, want := k.readers.Load(), min(1, calls-i-1); int(got) != want {
				t.Errorf("after the answers %v: %d read", order[:i+1], got)
			}
		}
		if !slices.Equal(k.answered, order) {
			t.Errorf("handled %v, came %v", k.answered, order)
		}
	})
}

// A caller that has its answer reads no more, though others wait.
func TestFinishedCallPassesTheTurnOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		first := k.call(1)
		synctest.Wait() // it reads
		second := k.call(2)
		third := k.call(3)
		k.frames <- 1
		synctest.Wait()
		if !over(first) || over(second) || over(third) || k.readers.Load() != 1 {
			t.Error("the turn was not passed on")
		}
		k.frames <- 3
		k.frames <- 2
		<-second
		<-third
	})
}

// The end of the conversation is the end of all who wait, and of watch; who comes
// later does not wait.
func TestEndOfTheConversationWakesEverybody(t *testing.T) {
	for _, callers := range []int{0, 1, 64} {
		synctest.Test(t, func(t *testing.T) {
			k := newTalk(t)
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				k.watch()
			}()
			var returned []chan struct{}
			for n := range callers {
				returned = append(returned, k.call(n))
			}
			testenv.Pass(10 * quiet)
			close(k.frames)
			for _, c := range returned {
				<-c
			}
			<-watched
			<-k.call(callers)
		})
	}
}

// While nobody calls watch reads, once it has been quiet for a while. It goes on for
// calls that are alone, and lets the callers read again where they are not.
func TestWatchReadsWhileNobodyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		go k.watch()
		for n := range 10 { // no pause is long enough
			testenv.Pass(quiet * 2 / 3)
			synctest.Wait()
			if k.readers.Load() != 0 {
				t.Fatalf("after %d calls: somebody reads, though nobody waits and there were calls", n)
			}
			c := k.call(n)
			k.frames <- n
			<-c
		}
		testenv.Pass(2 * quiet)
		synctest.Wait()
		if k.readers.Load() != 1 {
			t.Fatal("nobody reads, though there were no calls")
		}
		for n := range 3 {
			c := k.call(10 + n)
			k.frames <- 10 + n
			<-c
			synctest.Wait()
			if k.readers.Load() != 1 {
				t.Error("nobody reads after a lone call")
			}
			testenv.Pass(4 * quiet)
		}
		for n := range 2 {
			c := k.call(20 + n)
			k.frames <- 20 + n
			<-c
		}
		synctest.Wait()
		if k.readers.Load() != 0 {
			t.Error("watch goes on")
		}
		testenv.Pass(2 * quiet)
		synctest.Wait()
		if k.readers.Load() != 1 {
			t.Error("watch has not come back")
		}
		close(k.frames)
	})
}

// Who hangs up need not wait until it is quiet.
func TestHurriedWatchReadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newTalk(t)
		go k.watch()
		synctest.Wait()
		begin := time.Now()
		k.hurry()
		k.hurry()
		synctest.Wait()
		if k.readers.Load() != 1 || time.Since(begin) != 0 {
			t.Errorf("%d read after %v", k.readers.Load(), time.Since(begin))
		}
		close(k.frames)
	})
}

// Many callers, with a watch between them: each gets its own, and one reads.
func TestManyCallersTakeTurns(t *testing.T) {
	k := newTalk(t)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		k.watch()
	}()
	const callers, each = 64, 200
	asked := make(chan int, callers)
	go func() { // the other side
		for n := range asked {
			if n%3 == 0 {
				runtime.Gosched()
			}
			k.frames <- n
		}
		close(k.frames)
	}()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range each {
				n := i*each + j
				done := make(chan struct{})
				k.mu.Lock()
				k.calls[n] = done
				k.mu.Unlock()
				asked <- n
				k.await(done)
				if !over(done) {
					t.Errorf("call %d returned without its answer", n)
				}
			}
		})
	}
	wg.Wait()
	close(asked)
	<-watched
	if len(k.answered) != callers*each {
		t.Errorf("%d answers", len(k.answered))
	}
}

// echoPeer answers what it gets, from another process as a worker does.
const echoPeer = "echo peer"

func init() {
	testenv.Program(echoPeer, func() {
		runtime.LockOSThread()
		ends, err := wire.TakeEnds(3)
		check(err)
		b := make([]byte, 1<<10)
		for {
			n, err := unix.Read(ends.In, b)
			if n <= 0 || err != nil {
				return
			}
			if _, err := unix.Write(ends.Out, b[:n]); err != nil {
				return
			}
		}
	})
}

// echoed is a connection to an echo peer.
func echoed(b *testing.B) *wire.Conn {
	conn, sock, err := wire.Pair()
	if err != nil {
		b.Fatal(err)
	}
	c := testenv.Command(b, echoPeer)
	c.ExtraFiles = []*os.File{sock}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	sock.Close()
	b.Cleanup(func() {
		conn.Close()
		c.Wait()
	})
	return conn
}

// BenchmarkTurns compares a call whose caller reads the answer with one whose
// answer a goroutine reads and hands over. They take turns; medians are what counts.
func BenchmarkTurns(b *testing.B) {
	contestant := func() (conn *wire.Conn, read func() bool, call func() chan struct{}) {
		conn = echoed(b)
		var waiting atomic.Pointer[chan struct{}]
		read = func() bool {
			f, err := conn.Read()
			if err == nil {
				f.Close()
				close(*waiting.Load())
			}
			return err == nil
		}
		call = func() chan struct{} {
			done := make(chan struct{})
			waiting.Store(&done)
			if err := conn.Write(&wire.Frame{Type: wire.Result, ID: 1, Payload: []byte("a short call")}); err != nil {
				b.Fatal(err)
			}
			return done
		}
		return conn, read, call
	}
	_, read, call := contestant()
	t := newTurns(read)
	inTurns := func() { t.await(call()) }
	conn, handOver, ask := contestant()
	var reader sync.WaitGroup
	reader.Go(func() {
		for handOver() {
		}
	})
	handedOver := func() { <-ask() }

	testenv.Contest(b, "turns", inTurns, "handed-over", handedOver)
	conn.Close()
	reader.Wait()
}
