package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/testenv"
)

// record is a value with some of all that crosses.
type record struct {
	N    int
	Name string
	At   time.Time
	Tags map[string][]byte
	Next *record
}

// channelBase is embedded, and not exported.
type channelBase struct {
	Note   string
	Log    chan<- string
	Unread int
}

// Counts is a named type of channel.
type Counts <-chan int

// channelArgs has channels everywhere that readers may be.
type channelArgs struct {
	channelBase
	Out   chan<- record
	In    Counts
	Any   chan<- any
	List  []chan<- int
	Map   map[string]<-chan string
	Deep  *struct{ Done chan<- struct{} }
	R     io.Reader
	W     io.Writer
	File  *os.File
	N     int
	Say   string
	local int // stays here
}

var (
	chanAll = Register("test.chan-all", func(ctx context.Context, a channelArgs) (string, error) {
		if a.List[1] != nil || a.Map["nil"] != nil || a.local != 0 {
			return "", errors.New("nil became a channel")
		}
		a.Log <- a.Note
		sum := 0
		for n := range a.In {
			a.Out <- record{N: n, Name: "\xff", Tags: map[string][]byte{"k": {byte(n)}}, Next: &record{N: -n}}
			sum += n
		}
		a.List[0] <- sum
		a.Any <- nil
		a.Any <- "any"
		a.Any <- map[string]any{"k": int64(sum)}
		close(a.Any)
		got := ""
		for s := range a.Map["a"] {
			got += s
		}
		b, err := io.ReadAll(a.R)
		if err != nil {
			return "", err
		}
		if _, err := io.WriteString(a.W, strings.ToUpper(string(b))); err != nil {
			return "", err
		}
		content, err := io.ReadAll(a.File)
		a.Deep.Done <- struct{}{}
		return got + string(content), err
	})
	// chanCount sends N numbers, and looks at nothing else. It says how many in W.
	chanCount = Register("test.chan-count", func(_ context.Context, a struct {
		Out chan<- int
		N   int
		W   *os.File
	}) (int, error) {
		for n := range a.N {
			a.Out <- n
			if a.W != nil {
				if _, err := a.W.Write([]byte{1}); err != nil {
					return n, err
				}
			}
		}
		return a.N, nil
	})
	// chanTake receives N numbers, or all of them.
	chanTake = Register("test.chan-take", func(_ context.Context, a struct {
		In <-chan int
		N  int
	}) (got []int, err error) {
		for len(got) < a.N || a.N < 0 {
			n, ok := <-a.In
			if !ok {
				break
			}
			got = append(got, n)
		}
		return got, nil
	}, LeavesThreadClean())
	chanSay = Register("test.chan-say", func(ctx context.Context, a channelArgs) (int, error) {
		switch a.Say {
		case "panic":
			a.Log <- a.Say
			panic("on purpose")
		case "goexit":
			a.Log <- a.Say
			goexit()
		case "kill":
			a.Log <- a.Say
			// The pump has it, and this waits until the pipe does.
			a.Log <- "and"
			<-a.In // closed when the caller has both
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		case "unencodable":
			a.Any <- 1
			a.Any <- func() {}
			a.Any <- 2
			a.Any <- 3
			return 3, nil
		case "large":
			a.Any <- make([]byte, codec.MaxItem)
			return 1, nil
		case "ctx":
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 0, nil
	})
	chanRoot = Register("test.chan-root", func(_ context.Context, out chan<- string) (bool, error) {
		if out == nil {
			return false, nil
		}
		out <- "root"
		return true, nil
	})
)

// received takes all that comes until the channel is closed.
func received[T any](ch <-chan T) (all func() []T) {
	got := make(chan []T, 1)
	go func() {
		var list []T
		for v := range ch {
			list = append(list, v)
		}
		got <- list
	}()
	return func() []T { return <-got }
}

// filled is a closed channel of values.
func filled[T any](values ...T) chan T {
	ch := make(chan T, len(values))
	for _, v := range values {
		ch <- v
	}
	close(ch)
	return ch
}

func TestChannelsCross(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		log, out, sum, anys, done := make(chan string), make(chan record), make(chan int, 1), make(chan any), make(chan struct{}, 1)
		logs, outs, all := received(log), received(out), received(anys)
		var w strings.Builder
		a := channelArgs{
			channelBase: channelBase{Note: "note", Log: log}, Out: out, In: Counts(filled(1, 2, 3)), Any: anys, List: []chan<- int{sum, nil},
			Map: map[string]<-chan string{"a": filled("x", "y"), "nil": nil}, Deep: &struct{ Done chan<- struct{} }{done},
			R: strings.NewReader("upper"), W: &w, File: openedWith(t, "content"), local: 7,
		}
		got, err := chanAll.Do(t.Context(), s, a, o)
		// Nothing is closed, so that one channel serves several calls.
		close(log)
		close(out)
		close(anys)
		if err != nil || got != "xycontent" || w.String() != "UPPER" {
			t.Errorf("%q, %q, %v", got, w.String(), err)
		}
		if l := logs(); !slices.Equal(l, []string{"note"}) {
			t.Errorf("log %q", l)
		}
		var want []record
		for n := 1; n <= 3; n++ {
			want = append(want, record{N: n, Name: "\xff", Tags: map[string][]byte{"k": {byte(n)}}, Next: &record{N: -n}})
		}
		if o := outs(); !reflect.DeepEqual(o, want) {
			t.Errorf("out %+v", o)
		}
		if v := all(); !reflect.DeepEqual(v, []any{nil, "any", map[string]any{"k": int64(6)}}) {
			t.Errorf("any %#v", v)
		}
		if n := <-sum; n != 6 {
			t.Error(n)
		}
		<-done
		for _, ch := range []chan string{nil, make(chan string, 1)} {
			sent, err := chanRoot.Do(t.Context(), s, ch, o)
			if err != nil || sent != (ch != nil) || len(ch) != cap(ch) {
				t.Error(sent, len(ch), err)
			}
		}
	})
}

func TestChannelsKeepOrderAndNumber(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		const n = 3000
		out := make(chan int)
		all := received(out)
		type args = struct {
			Out chan<- int
			N   int
			W   *os.File
		}
		_, err := chanCount.Do(t.Context(), s, args{Out: out, N: n}, o)
		close(out)
		got := all()
		if err != nil || len(got) != n || !slices.IsSorted(got) {
			t.Errorf("%d of %d, %v", len(got), n, err)
		}
		back, err := chanTake.Do(t.Context(), s, takeArgs{In: filled(got...), N: -1}, o)
		if err != nil || !slices.Equal(back, got) {
			t.Errorf("%d of %d, %v", len(back), n, err)
		}
	})
}

type takeArgs = struct {
	In <-chan int
	N  int
}

// A function cannot run far ahead of its receiver, so that memory cannot grow with the backlog. The function
// writes to a pipe, which shows how far it is.
func TestFunctionCannotRunAheadOfItsReceiver(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		const n = 1000
		out, done := make(chan int), make(chan error, 1)
		go func() {
			_, err := chanCount.Do(t.Context(), s, struct {
				Out chan<- int
				N   int
				W   *os.File
			}{out, n, w}, o)
			done <- err
		}()
		ahead := func(received int) {
			buf := make([]byte, n)
			total := 0
			for total < received+sendAhead { // it comes this far
				got, err := r.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				total += got
			}
			if total > received+sendAhead+2 { // one in each pump's hands
				t.Fatalf("%d sent where %d were received", total, received)
			}
		}
		ahead(0)
		for i := range n {
			if got := <-out; got != i {
				t.Fatalf("%d instead of %d", got, i)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What the function does not receive stays with the caller, but for the one value that was on its
// way; nobody is left to take the rest.
func TestLeftoverValuesCannotBeTaken(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		for _, take := range []int{0, 3} {
			in := make(chan int, 10)
			for n := range cap(in) {
				in <- n
			}
			got, err := chanTake.Do(t.Context(), s, takeArgs{In: in, N: take}, o)
			if err != nil || len(got) != take {
				t.Fatal(got, err)
			}
			if left := len(in); left != cap(in)-take && left != cap(in)-take-takeAhead {
				t.Errorf("%d of %d values left after %d", left, cap(in), take)
			}
		}
		// A sender that goes on, and one that says nothing, do not keep Do.
		in, stop := make(chan int), make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for n := 0; ; n++ {
				select {
				case in <- n:
				case <-stop:
					return
				}
			}
		}()
		if got, err := chanTake.Do(t.Context(), s, takeArgs{In: in, N: 5}, o); err != nil || !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
			t.Error(got, err)
		}
		close(stop)
		<-ended
		if got, err := chanTake.Do(t.Context(), s, takeArgs{In: make(chan int)}, o); err != nil || got != nil {
			t.Error(got, err)
		}
	})
}

// A caller that stops receiving, or sending, cannot hang a function that does not look at its
// context: that ends, with no need to kill the worker and the calls of others, and no goroutine is
// left that sends to nobody (weaviate/weaviate#12749, containerd/containerd#13161).
func TestAbandonedChannelsCannotHangTheFunction(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		for what, call := range map[string]func(ctx context.Context, started chan<- int) error{
			"send": func(ctx context.Context, out chan<- int) error {
				n, err := chanCount.Do(ctx, s, struct {
					Out chan<- int
					N   int
					W   *os.File
				}{out, 500, nil}, o)
				if n != 500 {
					return fmt.Errorf("%d sent: %w", n, err)
				}
				return err
			},
			"receive": func(ctx context.Context, started chan<- int) error {
				in := make(chan int)
				go func() {
					in <- 1
					in <- 2 // taken only when the function has the first
					started <- 0
				}()
				got, err := chanTake.Do(ctx, s, takeArgs{In: in, N: -1}, o)
				if !slices.Equal(got, []int{1, 2}) {
					return fmt.Errorf("%v received: %w", got, err)
				}
				return err
			},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("why")
			started := make(chan int)
			done := make(chan error, 1)
			go func() { done <- call(ctx, started) }()
			<-started
			cancel(why)
			// The function returned its result, and the caller learns that it was not all.
			if err := <-done; wantMatch(err, context.Canceled, "channel", map[string]string{"send": "Out", "receive": "In"}[what]) != nil ||
				!errors.Is(err, why) || errors.Is(err, ErrWorkerDied) || strings.Contains(err.Error(), "sent:") || strings.Contains(err.Error(), "received:") {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// Who cancels and receives no more is not kept for the grace period by a function that obeys.
func TestCancelledCallCannotWaitForItsReceiver(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		if err := s.SetWorker(Worker{Grace: time.Hour}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan int)
		done := make(chan error, 1)
		go func() {
			_, err := chanUntil.Do(ctx, s, out, o)
			done <- err
		}()
		<-out
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "channel") {
			t.Error(err)
		}
	})
}

var chanUntil = Register("test.chan-until", func(ctx context.Context, out chan<- int) (int, error) {
	for n := 0; ; n++ {
		select {
		case out <- n:
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
})

func TestChannelErrors(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		for say, want := range map[string]func(error) bool{
			"panic":  func(err error) bool { _, ok := errors.AsType[*PanicError](err); return ok },
			"goexit": func(err error) bool { return err == ErrGoexit },
		} {
			log := make(chan string, 1)
			_, err := chanSay.Do(t.Context(), s, channelArgs{channelBase: channelBase{Log: log}, Say: say}, o)
			if !want(err) || len(log) != 1 {
				t.Errorf("%s: %d values, %v", say, len(log), err)
			}
		}
		// A value that cannot cross ends the stream with an error, and the result is there.
		anys := make(chan any, 5)
		n, err := chanSay.Do(t.Context(), s, channelArgs{Any: anys, Say: "unencodable"}, o)
		if n != 3 || wantMatch(err, codec.ErrValue, "send on channel Any", "func()") != nil || len(anys) != 1 {
			t.Errorf("%d, %d values, %v", n, len(anys), err)
		}
		n, err = chanSay.Do(t.Context(), s, channelArgs{Any: anys, Say: "large"}, o)
		if n != 1 || wantMatch(err, codec.ErrTooLarge, "send on channel Any") != nil || len(anys) != 1 {
			t.Errorf("%d, %d values, %v", n, len(anys), err)
		}
		got, err := chanTakeAny.Do(t.Context(), s, filled[any](1, func() {}, 2), o)
		if got != 1 || wantMatch(err, codec.ErrValue, "feed channel", "func()") != nil {
			t.Error(got, err)
		}
		// A caller that closes what Do sends on makes an error of it, not a panic in a goroutine of ours.
		out := make(chan int)
		close(out)
		if n, err := chanCount.Do(t.Context(), s, struct {
			Out chan<- int
			N   int
			W   *os.File
		}{out, 100, nil}, o); n != 100 || wantMatch(err, os.ErrInvalid, "drain channel Out", "closed") != nil {
			t.Error(n, err)
		}
	})
}

var chanTakeAny = Register("test.chan-take-any", func(_ context.Context, in <-chan any) (n int, _ error) {
	for range in {
		n++
	}
	return n, nil
})

func goexit() { (&testing.T{}).SkipNow() }

func TestChannelsOfAWorkerThatDies(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := owned(t)(new(Set), nil)
	log, in := make(chan string, 2), make(chan int)
	go func() {
		defer close(in)
		testenv.Poll(func() bool { return len(log) == 2 })
	}()
	_, err := chanSay.Do(t.Context(), s, channelArgs{channelBase: channelBase{Log: log}, In: in, Say: "kill"}, InProcess())
	if !errors.Is(err, ErrWorkerDied) || len(log) != 2 || strings.Contains(err.Error(), "channel") {
		t.Errorf("%v, %d values", err, len(log))
	}
}

// Types that cannot cross are refused by name, before anything is made.
func TestChannelsThatCannotCross(t *testing.T) {
	testenv.Leaks(t)
	type loop struct {
		C    chan<- int
		Next *loop
	}
	type self struct{ C chan<- self }
	type hidden struct{ C chan<- int }
	for typ, words := range map[reflect.Type][]string{
		reflect.TypeFor[struct{ C chan int }]():            {"chan int in field C", "chan<- T", "<-chan T"},
		reflect.TypeFor[struct{ C chan<- func() }]():       {"func() in field C[]"},
		reflect.TypeFor[struct{ C <-chan *os.File }]():     {"cannot hold files"},
		reflect.TypeFor[struct{ C chan<- (chan<- int) }](): {"cannot hold files, readers, writers or channels"},
		reflect.TypeFor[map[<-chan int]int]():              {"keys"},
		reflect.TypeFor[loop]():                            {"loop", "cannot hold itself"},
		reflect.TypeFor[self]():                            {"self", "channels"},
		reflect.TypeFor[struct {
			*hidden
			D chan<- int
		}](): {"hidden", "not exported"},
	} {
		if err := wantMatch(codec.CheckArgument(typ), codec.ErrValue, words...); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
	}
	if err := wantMatch(codec.CheckType(reflect.TypeFor[struct{ C chan<- int }]()), codec.ErrValue, "arguments only"); err != nil {
		t.Error(err)
	}
	var s Set
	closed := openedWith(t, "")
	closed.Close()
	_, err := chanAll.Do(t.Context(), &s, channelArgs{Out: make(chan record), File: closed}, InThread())
	if wantMatch(err, os.ErrClosed, "field File of gonso.channelArgs") != nil {
		t.Error(err)
	}
	_, err = chanAnyIn.Do(t.Context(), &s, struct {
		C chan<- int
		A any
	}{make(chan int), []any{make(chan<- int)}}, InThread())
	if wantMatch(err, codec.ErrValue, "chan<- int in field A[]", "interfaces") != nil {
		t.Error(err)
	}
}

var chanAnyIn = Register("test.chan-any-in", func(context.Context, struct {
	C chan<- int
	A any
}) (int, error) {
	return 0, nil
})

// hostileArgs say what a worker in other hands does.
type hostileArgs struct {
	Out  chan<- []string
	Go   <-chan struct{} // closed when the first value has come
	Junk []byte
	Keep bool
	Then []byte // without end; less than PIPE_BUF, so that each write is whole
}

// chanHostile is such a worker: it writes what it likes to the pipes of its channels, and keeps them.
var chanHostile = Register("test.chan-hostile", func(_ context.Context, a hostileArgs) (wrote int, _ error) {
	a.Out <- []string{"first"}
	<-a.Go
	for _, fd := range pipesToWrite() {
		if a.Keep {
			fd, _ = unix.Dup(fd)
		}
		if n, err := unix.Write(fd, a.Junk); err == nil {
			wrote += n
		}
		if a.Then != nil {
			go writeWithoutEnd(fd, a.Then)
		}
	}
	return wrote, nil
})

func writeWithoutEnd(fd int, b []byte) {
	for {
		_, err := unix.Write(fd, b)
		if err == unix.EAGAIN {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		}
		if err != nil && err != unix.EINTR {
			return
		}
	}
}

// pipesToWrite are the pipes of this process that can be written to, but for its standard streams and that of its answers.
func pipesToWrite() (fds []int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		var fd int
		if n, _ := fmt.Sscan(e.Name(), &fd); n != 1 || fd <= 2 || fd == child.Ends.Out {
			continue
		}
		var st unix.Stat_t
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_ACCMODE != unix.O_WRONLY || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue
		}
		fds = append(fds, fd)
	}
	return fds
}

// What a worker writes to the pipe of a channel is no more trusted than its answers.
func TestHostileWorkerCannotFloodAChannel(t *testing.T) {
	testenv.Need(t, testenv.Process)
	item, err := codec.AppendItem(nil, &[]string{"more"})
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		hostileArgs
		is    error
		words []string
	}{
		"a length beyond all bounds":  {hostileArgs{Junk: []byte("\xff\xff\xff\xff")}, codec.ErrTooLarge, []string{"drain channel Out"}},
		"what is no value":            {hostileArgs{Junk: []byte("\x02\x00\x00\x00\xff\xff")}, codec.ErrValue, []string{"drain channel Out"}},
		"another type":                {hostileArgs{Junk: []byte("\x01\x00\x00\x00\x01")}, codec.ErrValue, []string{"drain channel Out"}},
		"what would become too large": {hostileArgs{Junk: append([]byte("\x05\x00\x00\x00"), 0x9a, 0x7f, 0xff, 0xff, 0xff)}, codec.ErrValue, nil},
		"half a length":               {hostileArgs{Junk: []byte("\x01")}, io.ErrUnexpectedEOF, []string{"drain channel Out"}},
		"half a value":                {hostileArgs{Junk: []byte("\x09\x00\x00\x00\x01")}, io.ErrUnexpectedEOF, []string{"drain channel Out"}},
		"a pipe that stays open":      {hostileArgs{Junk: item, Keep: true}, os.ErrDeadlineExceeded, []string{"drain channel Out", "keeps the channel open"}},
		"values without end":          {hostileArgs{Junk: item, Keep: true, Then: item}, nil, []string{"drain channel Out", "goes on sending"}},
	} {
		t.Run(what, func(t *testing.T) {
			testenv.Leaks(t)
			s := owned(t)(new(Set), nil)
			if err := s.SetWorker(Worker{Grace: 100 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			out, begin, all := make(chan []string), make(chan struct{}), make(chan [][]string)
			go func() {
				got := [][]string{<-out}
				close(begin)
				for v := range out {
					got = append(got, v)
				}
				all <- got
			}()
			tt.Out, tt.Go = out, begin
			n, err := chanHostile.Do(t.Context(), s, tt.hostileArgs, InProcess())
			close(out)
			if got := <-all; got[0][0] != "first" {
				t.Errorf("received %d values, first %.40q", len(got), got[0])
			}
			if n == 0 || err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%d bytes written, %v", n, err)
			}
			for _, w := range tt.words {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not say %q", err, w)
				}
			}
			// The others of the Set are not worse off.
			if sent, err := chanRoot.Do(t.Context(), s, make(chan string, 1), InProcess()); !sent || err != nil {
				t.Error(err)
			}
		})
	}
}
