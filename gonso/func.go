package gonso

import (
	"context"
	"errors"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// Func is a registered function. It can run in another process. That process is this program,
// started again, so it knows the function by the same name.
type Func[In, Out any] struct {
	name string
	cfg  funcConfig
	fn   func(context.Context, In) (Out, error)

	once sync.Once
	of   crossing // see types
}

// crossing has facts about the types of argument and result.
type crossing struct {
	bad   error // why they cannot cross
	give  bool  // results may hold files
	pipe  bool  // arguments may hold readers, writers and channels
	chans bool  // arguments may hold channels
	most  int   // bytes of an encoded result

	in, out bool // argument, result are interfaces, so that their values have other types

	flatIn, flatOut *codec.Flat // nil if one of the two is not flat
}

// types is filled at the first use of the function: most programs use few of the functions that
// their packages register.
func (f *Func[In, Out]) types() *crossing {
	f.once.Do(func() {
		in, out := reflect.TypeFor[In](), reflect.TypeFor[Out]()
		f.of = crossing{
			bad: badTypes(codec.CheckArgument(in), codec.CheckType(out)),
			in:  in.Kind() == reflect.Interface, out: out.Kind() == reflect.Interface,
			give: codec.HasFiles(out), pipe: codec.HasStreams(in), chans: codec.HasChannels(in),
		}
		if f.of.bad == nil {
			f.of.most = codec.MaxSize(out)
			if f.of.flatIn, f.of.flatOut = codec.FlatOf(in), codec.FlatOf(out); f.of.flatOut == nil {
				f.of.flatIn = nil
			}
		}
	})
	return &f.of
}

// Register makes fn known by name, and returns the Func to call it. Use it for package-level
// variables, so that the worker registers fn, too:
//
//	var mounts = gonso.Register("mounts", listMounts)
//
// The sections Values, Files, Streams and Errors of the package's documentation say which types In
// and Out may have. Both may have data and files. In may also have readers, writers, and channels
// with a direction:
//
//	type build struct {
//		Steps    <-chan Step    // the function receives until the caller closes it
//		Progress chan<- Percent // the function sends; the caller closes it after Do
//	}
//
// Register panics if fn is nil, or if the name is empty or already registered.
func Register[In, Out any](name string, fn func(context.Context, In) (Out, error), opts ...FuncOption) *Func[In, Out] {
	if fn == nil {
		panic("gonso: Register of a nil function")
	}
	f := &Func[In, Out]{name: name, fn: fn}
	for _, o := range opts {
		if o != nil {
			o(&f.cfg)
		}
	}
	child.Register(name, f.serve, child.Traits{Clean: f.cfg.leavesThreadClean, Goroutines: f.cfg.startsGoroutines})
	return f
}

// badTypes says why argument and result cannot cross. It says it once if the reason is the same for
// both.
func badTypes(argument, result error) error {
	switch {
	case argument != nil && result != nil && argument.Error() == result.Error():
		return about("its argument and result", argument)
	case argument != nil:
		argument = about("its argument", argument)
	}
	if result != nil {
		result = about("its result", result)
	}
	return errors.Join(argument, result)
}

// pointerTo returns a pointer to a copy of v. Only a call of it puts a value on the heap.
func pointerTo[T any](v T) any { return &v }

// serve is f with encoded arguments and results, as they cross the wire.
func (f *Func[In, Out]) serve(ctx context.Context, arg codec.Value) *wire.Outcome {
	var in In
	if f.types().chans {
		return f.serveChannels(ctx, arg)
	}
	if err := arg.Decode(&in); err != nil {
		return &wire.Outcome{Kind: wire.Unserved, Err: err}
	}
	return f.outcome(f.fn(ctx, in))
}

// serveChannels is serve for an argument that may hold channels.
func (f *Func[In, Out]) serveChannels(ctx context.Context, arg codec.Value) *wire.Outcome {
	var in In
	var chans functionChannels
	if err := arg.DecodeArgument(&in, chans.attach); err != nil {
		return &wire.Outcome{Kind: wire.Unserved, Err: err}
	}
	chans.start()
	defer func() { _ = chans.finish() }() // for a panic or Goexit of fn
	out, err := f.fn(ctx, in)
	if unsent := chans.finish(); unsent != nil {
		err = errors.Join(err, unsent)
	}
	return f.outcome(out, err)
}

// outcome is made of the function's result and error.
func (f *Func[In, Out]) outcome(out Out, ferr error) *wire.Outcome {
	var value any = out
	if f.types().out {
		value = pointerTo(out)
	}
	result, err := codec.Encode(value)
	if f.types().give {
		sys.CloseFiles(slices.DeleteFunc(codec.FilesIn(out), sys.IsStandard))
	}
	if err != nil {
		return &wire.Outcome{Kind: wire.Unserved, Err: errors.Join(ferr, err)}
	}
	return &wire.Outcome{Kind: wire.Returned, Value: result, Err: ferr}
}

// Do runs the function in the Set and returns its results. The types of the Set and the options of
// Register decide which backend runs it: see [Set.Plan]. Argument and results are encoded and
// decoded on both backends, so that a call means the same on each.
//
// On a thread, goroutines that the function starts are not inside: see [StartsGoroutines].
// /proc/self and /proc/net mean outside, and /proc/thread-self means inside. net.Interfaces fills a
// cache of this process, and [Set.Interfaces] does not. The thread ends with the function unless
// the function was registered with [LeavesThreadClean].
//
// In a process, each Set has one worker. The first call that needs it starts it, and it stays for
// the next calls. Many calls run in it at once, and share its memory.
//
// A panic of the function is returned as a [*PanicError], and runtime.Goexit as [ErrGoexit].
//
// When ctx ends, the context of the function ends, too. Do never returns while the function runs. A
// thread cannot be killed, so Do waits for the function there. A worker is killed if the function
// does not return within the grace period (Worker.Grace). Other calls in that worker have half of
// the grace period to finish. If they do not, their error says that they may be retried.
//
// If the program has not called [Init], no worker is started, and the error matches
// [ErrNotInitialized]. If the worker dies, the error matches [ErrWorkerDied]. It has the name of
// the function, the wait status, the process that killed the worker if that is known, and the last
// output of the worker. If this program's standard error shows a crash already, the error has only
// its cause. The next call starts another worker.
//
// Several workers in a row may fail to start, or end before they have answered a call. Then the
// second retry waits 10 ms, and each further one twice as long, up to 2 s. If ctx ends in that
// time, the call returns the error of ctx, with the last failure in the text.
//
// It needs the privileges to enter the Set: see [Set.Do]. A Set with a user namespace that the
// caller made or owns needs no privilege. Processes need Linux on an architecture that the
// package's documentation lists under Systems.
func (f *Func[In, Out]) Do(ctx context.Context, s *Set, in In, opts ...DoOption) (Out, error) {
	var flat flatResult[Out]
	outcome, grace, copying, err := f.do(ctx, s, in, opts, &flat)
	if flat.given && err == nil {
		return flat.out, outcome.Err
	}
	out, err := f.result(ctx, grace, outcome, err)
	if copying != nil {
		err = errors.Join(err, copying)
	}
	return out, err
}

// maxFlat bounds the strings of a value that is not encoded. It is below the limit of encoded
// values, so that a value that is too large to be encoded fails in both ways.
const maxFlat = 1 << 20

// flatResult is a result that an assignment copies.
type flatResult[Out any] struct {
	out   Out
	given bool
}

// serveFlat is serve on a thread, for flat arguments and results. They are not encoded, because
// they mean the same without. Encoding would take twice as long as all the rest.
func (f *Func[In, Out]) serveFlat(in In, to *flatResult[Out]) child.Handler {
	return func(ctx context.Context, _ codec.Value) *wire.Outcome {
		out, err := f.fn(ctx, in)
		if f.types().flatOut.Len(&out) > maxFlat {
			return f.outcome(out, err)
		}
		to.out, to.given = out, true
		return &wire.Outcome{Kind: wire.Returned, Err: err}
	}
}

func (f *Func[In, Out]) result(ctx context.Context, grace time.Duration, outcome *wire.Outcome, err error) (out Out, _ error) {
	if err != nil {
		return out, err
	}
	if outcome.Kind != wire.Returned || outcome.Value.Bytes == nil {
		outcome.Close()
	}
	switch outcome.Kind {
	case wire.Panicked:
		return out, &PanicError{Value: outcome.Panic.Value, Stack: outcome.Panic.Stack}
	case wire.Goexited:
		return out, ErrGoexit
	case wire.NotRegistered:
		return out, newError("call", 0, f.name, ErrNotRegistered).withHint("register it in a package-level variable or an init function: " +
			"main of the worker does not get beyond gonso.Init; a helper program, Worker.Path, registers its functions itself")
	case wire.Unserved:
		return out, newError("call", 0, f.name, outcome.Err).withHint(placeHint(outcome.Err))
	}
	if outcome.Value.Bytes == nil {
		return out, outcome.Err
	}
	if err := outcome.Value.DecodeWithin(ctx, grace, &out); err != nil {
		var nothing Out // not the result whose files were taken back
		return nothing, newError("decode result of", 0, f.name, err).withHint(resultHint(err))
	}
	return out, outcome.Err
}

// do passes the encoded argument to the function on either backend, and returns the outcome. grace
// is how long decoding may take after ctx is done. copying has the errors of readers and writers
// during the call.
func (f *Func[In, Out]) do(ctx context.Context, s *Set, in In, opts []DoOption, flat *flatResult[Out]) (outcome *wire.Outcome, grace time.Duration, copying, err error) {
	switch {
	case f == nil || f.fn == nil:
		return nil, 0, nil, invalid("call", "the Func is nil, or not from Register")
	case f.types().bad != nil:
		return nil, 0, nil, newError("call", 0, f.name, f.types().bad)
	}
	errorsOnce.Do(registerErrors)
	c, err := s.acquireFor(ctx, "call")
	if err != nil {
		return nil, 0, nil, err
	}
	defer c.release()
	// The caller may have no more references to the Set. The cleanup must not close it, and so end
	// the call, before the call is over.
	defer runtime.KeepAlive(s)
	o := doOptions(opts)
	switch placed := o.place != (sys.Place{}); {
	case o.bad != nil:
		return nil, 0, nil, newError("call", 0, f.name, o.bad)
	case placed && f.cfg.startsGoroutines && !o.isolated:
		return nil, 0, nil, newError("call", 0, f.name, about("Root, Dir, DirFile and Umask belong to one thread, "+
			"and the function was registered with StartsGoroutines: pass Isolated too", os.ErrInvalid))
	}
	if err := c.checkPlace("call", f.name, &o); err != nil {
		return nil, 0, nil, err
	}
	d := decide(c.facts(), work{startsGoroutines: f.cfg.startsGoroutines, inThread: o.inThread, inProcess: o.inProcess, hostFiles: c.workerHostFiles()})
	if d.err != nil {
		return nil, 0, nil, d.err
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, nil, err
	}
	clean := f.cfg.leavesThreadClean && !o.endThread
	if flatIn := f.types().flatIn; d.backend == ThreadBackend && flatIn != nil && flatIn.Len(&in) <= maxFlat {
		outcome, err = c.callOnThread(ctx, f.serveFlat(in, flat), codec.Value{}, clean, o)
		return outcome, 0, nil, err
	}
	var st *streams
	var value, wide any = in, nil
	if f.types().in { // it is decoded as the interface type
		value = pointerTo(in)
	}
	if f.types().pipe {
		connected := in
		if st, value, err = c.connectStreams(&connected); err != nil {
			return nil, 0, nil, newError("encode argument of", 0, f.name, err)
		}
		wide = &connected // without the pipes of channels, which hold only little data at a time
	}
	arg, err := codec.Encode(value)
	if err != nil {
		st.abandon()
		return nil, 0, nil, newError("encode argument of", 0, f.name, err)
	}
	if wide == nil {
		wide = value
	}
	defer widen(codec.FilesIn(wide))()
	st.start(ctx)
	if d.backend == ThreadBackend {
		outcome, err = c.callOnThread(ctx, f.serve, arg, clean, o)
	} else {
		grace = c.grace()
		outcome, err = c.callInProcess(ctx, f.name, f.types().most, arg, o)
		err = c.workerError("call", f.name, err)
	}
	called := err
	if outcome != nil {
		called = outcome.Err
	}
	return outcome, grace, st.finish(ctx, called, o.waitDelay), err
}

// withoutValues is a context without its values. They do not reach a function in a process, so they
// must not reach one on a thread.
type withoutValues struct{ context.Context }

func (withoutValues) Value(any) any { return nil }
