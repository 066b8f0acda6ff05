package reexec

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

// A hostile worker answers as it likes. Its parent is a program of its own here, so that what that
// takes of memory, time and descriptors can be seen from outside.

// An attack is what a hostile worker does to n calls in flight, and what its parent expects of them.
type attack struct {
	prepare func() []byte                         // before it is called
	do      func(f *fake, ids []uint64, b []byte) // after it was
	result  func() any                            // what the parent decodes into; nil is a string
	fine    bool                                  // calls may succeed
}

const (
	hostilePrefix = "hostile: "
	hostileParent = "hostile parent"
	hostileEnv    = "GONSO_REEXEC_HOSTILE" // attack and number of calls, for both
	hostileGrace  = 150 * time.Millisecond
	hostileLimit  = 350 * time.Millisecond // of a call's context
)

func resultOf(id uint64, value []byte) []byte {
	b := append(header(byte(wire.Result), 0, uint32(len(value)+2), id), byte(wire.Returned), 0)
	return append(b, value...)
}

func answerAll(f *fake, ids []uint64, value []byte) {
	for _, id := range ids {
		f.raw(resultOf(id, value)[:22])
		f.raw(value)
	}
}

func item(major byte, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, uint32(n))
}

func textOf(n int) []byte { return append(item(3, n), bytes.Repeat([]byte{'x'}, n)...) }

func rowOf(n int, elem ...byte) []byte { return append(item(4, n), bytes.Repeat(elem, n)...) }

func errorOf(tree []byte) []byte { return codec.AppendString([]byte{byte(wire.Returned)}, tree) }

// chain is an error tree of nodes that wrap each other, with as much text as there is room for.
func chain(kind byte, depth int) (tree []byte) {
	text := strings.Repeat("\x1b", (1<<20-depth*64)/depth)
	text = text[:min(len(text), 64<<10)]
	for i := range depth {
		node := kind
		if i == depth-1 {
			node = 4
		}
		tree = codec.AppendString(codec.AppendString(append(tree, node), "*x.Error"), text)
		tree = append(tree, 0)
	}
	return tree
}

// pathErrors is a chain of typed errors, each of which says all that it wraps.
func pathErrors(depth int) (tree []byte) {
	type opPath struct{ Op, Path string }
	path := strings.Repeat("p", 1<<20/depth-200)
	for range depth {
		fields, _ := codec.Marshal(opPath{"open", path})
		tree = codec.AppendString(append(tree, 3), "io/fs.PathError")
		tree = codec.AppendString(codec.AppendString(tree, fields), "text")
		tree = append(tree, 1)
	}
	return append(tree, 1, 2) // ENOENT
}

func spread(f *fake, ids []uint64, b []byte) {
	for _, id := range ids {
		f.raw(append(header(byte(wire.Result), 0, uint32(len(b)), id), b...))
	}
}

func wholeFrames(f *fake, ids []uint64, b []byte) { answerAll(f, ids, b) }

var attacks = map[string]attack{
	"mute": {do: func(*fake, []uint64, []byte) {}},
	"slow drip": {do: func(f *fake, ids []uint64, _ []byte) {
		f.raw(header(byte(wire.Result), 0, wire.MaxPayload, ids[0]))
		for range time.Tick(50 * time.Millisecond) {
			f.raw([]byte{1})
		}
	}},
	"half a header":  {do: func(f *fake, ids []uint64, _ []byte) { f.raw(resultOf(ids[0], nil)[:10]) }},
	"half a payload": {do: func(f *fake, ids []uint64, _ []byte) { f.raw(resultOf(ids[0], textOf(50<<20))[:40<<20]) }},
	"wrong id":       {prepare: func() []byte { return textOf(60 << 20) }, do: func(f *fake, ids []uint64, b []byte) { answerAll(f, []uint64{1 << 40}, b) }},
	"duplicates":     {prepare: func() []byte { return textOf(20 << 20) }, do: func(f *fake, ids []uint64, b []byte) { answerAll(f, append(slices.Clone(ids), ids...), b) }, fine: true},
	"flood of frames": {do: func(f *fake, ids []uint64, _ []byte) {
		for {
			f.raw(bytes.Repeat(resultOf(1<<40, []byte{1}), 1000))
		}
	}},
	"flood of greetings": {do: func(f *fake, ids []uint64, _ []byte) {
		hello := wire.Hello{Protocol: wire.Version, PID: 1}.Frame(wire.Ready)
		for {
			f.raw(bytes.Repeat(append(header(byte(wire.Ready), 0, 8, 0), hello.Payload...), 1000))
		}
	}},
	"calls instead of answers": {do: func(f *fake, ids []uint64, _ []byte) {
		f.raw(header(byte(wire.Call), 0, wire.MaxPayload, ids[0]))
		f.raw(make([]byte, wire.MaxPayload))
	}},
	"a chain of errors":  {prepare: func() []byte { return errorOf(chain(5, 64)) }, do: spread, fine: true},
	"a long chain":       {prepare: func() []byte { return errorOf(chain(5, 200)) }, do: spread},
	"errors with texts":  {prepare: func() []byte { return errorOf(chain(5, 15)) }, do: spread, fine: true},
	"typed errors":       {prepare: func() []byte { return errorOf(pathErrors(60)) }, do: spread, fine: true},
	"typed errors, deep": {prepare: func() []byte { return errorOf(pathErrors(16)) }, do: spread, fine: true},
	"a panic with all": {prepare: func() []byte {
		b := codec.AppendString([]byte{byte(wire.Panicked), 0}, chain(5, 15))
		return codec.AppendString(b, make([]byte, wire.MaxStack))
	}, do: spread, fine: true},
	"large for an int":   {prepare: func() []byte { return textOf(60 << 20) }, do: wholeFrames, result: func() any { return new(int) }},
	"large for a struct": {prepare: func() []byte { return textOf(30 << 20) }, do: wholeFrames, result: func() any { return new(struct{ A, B [4]int32 }) }},
	"text for a time":    {prepare: func() []byte { return append([]byte{0xc0}, textOf(60<<20)...) }, do: wholeFrames, result: func() any { return new(time.Time) }},
	"text for times":     {prepare: func() []byte { return append([]byte{0x81, 0xc0}, textOf(55<<20)...) }, do: wholeFrames, result: func() any { return new([]time.Time) }},
	"a key twice": {prepare: func() []byte {
		key := append(textOf(27<<20), 1)
		return append(append(item(5, 2), key...), key...)
	}, do: wholeFrames, result: func() any { return new(map[string]int) }},
	"deep":           {prepare: func() []byte { return append(bytes.Repeat([]byte{0x81}, 50<<20), 1) }, do: wholeFrames, result: func() any { return new(any) }},
	"wide":           {prepare: func() []byte { return rowOf(64<<10, 0x80) }, do: wholeFrames, result: func() any { return new([][1000]int64) }},
	"wide and long":  {prepare: func() []byte { return rowOf(50<<20, 0x80) }, do: wholeFrames, result: func() any { return new([][1000]int64) }},
	"wide in any":    {prepare: func() []byte { return rowOf(50<<20, 0xa0) }, do: wholeFrames, result: func() any { return new(any) }},
	"texts for ints": {prepare: func() []byte { return rowOf(50<<20, 0x60) }, do: wholeFrames, result: func() any { return new([]int) }},
	"just small":     {prepare: func() []byte { return rowOf(1<<20, 0xf6) }, do: wholeFrames, result: func() any { return new([]string) }, fine: true},
	"just allowed":   {prepare: func() []byte { return rowOf(64<<10, 0xa0) }, do: wholeFrames, result: func() any { return new([]struct{ A, B, C [8]int64 }) }, fine: true},
	"zones": {prepare: func() []byte {
		b := item(4, 2<<20)
		for i := range 2 << 20 {
			addr := append(netip.IPv6LinkLocalAllNodes().AsSlice(), fmt.Sprint("z", i)...)
			b = append(append(b, 0x58, byte(len(addr))), addr...)
		}
		return b
	}, do: wholeFrames, result: func() any { return new([]netip.Addr) }},
	"descriptors in a payload": {do: func(f *fake, ids []uint64, _ []byte) {
		fds := devNulls(250)
		f.raw(header(byte(wire.Result), 0, 1<<20, ids[0]))
		for {
			f.raw([]byte{0}, fds...)
		}
	}},
	"descriptors with each byte": {do: func(f *fake, ids []uint64, _ []byte) {
		fds := devNulls(250)
		for _, b := range header(byte(wire.Result), 250, 1<<20, ids[0]) {
			f.raw([]byte{b}, fds...)
		}
	}},
	"descriptors unasked": {do: func(f *fake, ids []uint64, _ []byte) {
		fds := devNulls(250)
		for _, id := range ids {
			f.raw(append(header(byte(wire.Result), 250, 3, id), byte(wire.Returned), 0, 0x60), fds...)
		}
	}, fine: true},
	"stderr": {do: func(f *fake, ids []uint64, _ []byte) {
		for b := bytes.Repeat([]byte("\x1b[2J\x1b]0;gone\a"), 4<<10); ; {
			os.Stderr.Write(b)
		}
	}},
	"valid texts":         {prepare: func() []byte { return textOf(10 << 20) }, do: wholeFrames, fine: true},
	"as large as may be":  {prepare: func() []byte { return textOf(29 << 20) }, do: wholeFrames, fine: true},
	"large and valid":     {prepare: func() []byte { return textOf(50 << 20) }, do: wholeFrames},
	"largest and valid":   {prepare: func() []byte { return textOf(codec.MaxValue - 5) }, do: wholeFrames},
	"numbers, all valid":  {prepare: func() []byte { return rowOf(12<<20, 1) }, do: wholeFrames, result: func() any { return new([]int) }},
	"numbers, all may be": {prepare: func() []byte { return rowOf(6<<20, 1) }, do: wholeFrames, result: func() any { return new([]int) }, fine: true},
	"anything, all valid": {prepare: func() []byte { return rowOf(3<<20, 1) }, do: wholeFrames, result: func() any { return new(any) }, fine: true},
	"refused with descriptors": {do: func(f *fake, ids []uint64, _ []byte) {
		fds := devNulls(250)
		for _, id := range ids {
			f.raw(header(byte(wire.Result), 250, codec.MaxValue, id), fds...)
			f.raw(make([]byte, codec.MaxValue))
		}
	}},
}

func init() {
	for name, a := range attacks {
		testenv.Program(hostilePrefix+name, func() {
			var b []byte
			if a.prepare != nil {
				b = a.prepare()
			}
			n, err := strconv.Atoi(os.Getenv(hostileEnv))
			check(err)
			f := greeted()
			ids := make([]uint64, n)
			for i := range ids {
				ids[i] = f.call().ID
			}
			a.do(f, ids, b)
			f.call() // until the parent has had enough
		})
	}
	testenv.Program(hostileParent, func() {
		name, n, _ := strings.Cut(os.Getenv(hostileEnv), "/")
		calls, err := strconv.Atoi(n)
		check(err)
		var s suffered
		if seed, ok := strings.CutPrefix(name, mutantPrefix); ok {
			s = endureMutants(seed, calls)
		} else {
			s = endure(name, calls)
		}
		json.NewEncoder(os.Stdout).Encode(s)
	})
}

// suffered is what an attack cost.
type suffered struct {
	Peak       int64 // of memory, over the start
	Longest    time.Duration
	Fine       int // calls without an error
	FDs        int // more than before
	Goroutines int
	Errors     []string // cut
	Text       int      // of the longest error
	Bad        string
}

// endure is the parent's part.
func endure(name string, calls int) suffered {
	a := attacks[name]
	return endureCalls(hostilePrefix+name, calls, calls, a.limit(), func(ctx context.Context, w *Worker, _ int) error {
		return a.call(ctx, w)
	})
}

// endureCalls makes so many calls, of which some are in flight at a time, of a worker that is a
// program of these tests.
func endureCalls(program string, calls, inFlight int, limit time.Duration, call func(context.Context, *Worker, int) error) (s suffered) {
	forWorker := strconv.Itoa(calls)
	if program == mutantPrefix {
		forWorker = os.Getenv(hostileEnv)
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, testenv.ProgramEnv+"=") || strings.HasPrefix(kv, hostileEnv+"=")
	})
	env = append(env, testenv.ProgramEnv+"="+program, hostileEnv+"="+forWorker)
	// What lasts, first.
	warm := NewWorker(WorkerOptions{Env: env, Stderr: io.Discard})
	if _, err := warm.Call(context.Background(), "pid", nil); err != nil {
		s.Bad = "warming up: " + err.Error()
		return s
	}
	warm.Close()

	fds, goroutines := len(descriptors()), runtime.NumGoroutine()
	w := NewWorker(WorkerOptions{Env: env, Stderr: io.Discard, Grace: hostileGrace})
	if _, err := w.Call(context.Background(), "pid", nil); err != nil {
		s.Bad = "the start: " + err.Error()
		return s
	}
	b, err := codec.Marshal("what is made with the first value is not an attack's")
	check(err)
	_, err = codec.UnmarshalWithin(b, new(string), 1<<20)
	check(err)
	start := memory("VmRSS")
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
	var mu sync.Mutex
	var wg sync.WaitGroup
	one := func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		begin := time.Now()
		err := call(ctx, w, i)
		took := time.Since(begin)
		mu.Lock()
		defer mu.Unlock()
		s.Longest = max(s.Longest, took)
		if err == nil {
			s.Fine++
			return
		}
		text := err.Error()
		s.Text = max(s.Text, len(text))
		if text = codec.Shorten(text, 300); !slices.Contains(s.Errors, text) && len(s.Errors) < 5 {
			s.Errors = append(s.Errors, text)
		}
	}
	for worker := range inFlight {
		wg.Go(func() {
			for i := worker; i < calls; i += inFlight {
				one(i)
			}
		})
	}
	wg.Wait()
	w.Close()
	s.Peak = memory("VmHWM") - start
	// Garbage collection is what takes back what nobody closed, so it must not be needed.
	poll(func() bool { return len(descriptors()) <= fds && runtime.NumGoroutine() <= goroutines })
	s.FDs, s.Goroutines = len(descriptors())-fds, runtime.NumGoroutine()-goroutines
	return s
}

// limit is that of a call. What is answered has the time to be received, or it would not matter how much
// it is.
func (a attack) limit() time.Duration {
	if a.prepare != nil {
		return 10 * time.Second
	}
	return hostileLimit
}

// call is what package gonso does.
func (a attack) call(ctx context.Context, w *Worker) error {
	v := any(new(string))
	if a.result != nil {
		v = a.result()
	}
	t := reflect.TypeOf(v).Elem()
	out, err := w.Do(ctx, wire.Request{Name: "echo", MaxResult: codec.MaxSize(t)})
	if err != nil {
		return err
	}
	if out.Kind != wire.Returned || out.Value.Bytes == nil {
		out.Close()
		if out.Kind == wire.Panicked {
			return fmt.Errorf("panic: %v", out.Panic.Value)
		}
		return out.Err
	}
	return out.Value.DecodeWithin(ctx, hostileGrace, v)
}

func memory(what string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	check(err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == what+":" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			check(err)
			return n << 10
		}
	}
	panic(what)
}

// A worker in hostile hands costs its parent little memory and no time beyond that of the calls,
// whatever it sends, and how many calls may be in flight.
func TestHostileWorkerCannotFloodItsParent(t *testing.T) {
	needProcess(t)
	for name, a := range attacks {
		for _, calls := range []int{1, 64} {
			// A third of them; and with one call all of them once, which is as root where there is root.
			if (calls > 1 || !testenv.Has(testenv.Root)) && !testenv.Full() && len(name)%3 > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d calls", name, calls), func(t *testing.T) {
				s := sufferedBy(t, name, calls)
				t.Logf("%3d MiB, %v, %d of %d fine, errors of up to %d bytes: %q", s.Peak>>20, s.Longest.Round(time.Millisecond), s.Fine, calls, s.Text, s.Errors)
				most := int64(64 << 20)
				if calls > 1 {
					most = 256 << 20
				}
				if testing.Short() { // as on emulated processors, where the collector comes behind
					most += most / 8
				}
				if s.Peak > most && !testenv.Race { // which multiplies it
					t.Errorf("%d MiB of memory, where %d are allowed", s.Peak>>20, most>>20)
				}
				limit := testenv.Bound(a.limit() + hostileGrace + time.Second)
				if s.Longest > limit { // the machine may be busy with others
					s.Longest = sufferedBy(t, name, calls).Longest
				}
				if s.Longest > limit {
					t.Errorf("a call took %v, where %v are allowed", s.Longest, limit)
				}
				if s.FDs > 0 || s.Goroutines > 0 { // what was there before may be gone
					t.Errorf("%d descriptors and %d goroutines are left", s.FDs, s.Goroutines)
				}
				if s.Fine > 0 && !a.fine {
					t.Errorf("%d calls are fine", s.Fine)
				}
				if s.Text > 1<<20 {
					t.Errorf("an error of %d bytes", s.Text)
				}
			})
		}
	}
}

// sufferedBy has a parent of its own suffer an attack.
func sufferedBy(t *testing.T, name string, calls int) (s suffered) {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), testenv.ProgramEnv+"="+hostileParent, fmt.Sprintf("%s=%s/%d", hostileEnv, name, calls))
	c.Stderr = os.Stderr
	b, err := c.Output()
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil || s.Bad != "" {
		t.Fatalf("%v %s %s", err, s.Bad, b)
	}
	return s
}

const mutantPrefix = "mutants of "

// mutantTypes are what the parent decodes mutants into.
var mutantTypes = []func() any{
	func() any { return new(string) }, func() any { return new(any) }, func() any { return new([]int) },
	func() any { return new(map[string]any) }, func() any { return new([]time.Time) }, func() any { return new(int) },
	func() any { return new([][100]int64) }, func() any { return new([]netip.Prefix) }, func() any { return new([]*os.File) },
	func() any {
		return new(struct {
			A []string
			M map[netip.Addr][]byte
			T time.Time
			F *os.File
			S *struct{ N float32 }
		})
	},
}

// origins are honest answers.
func origins() (all [][]byte) {
	addr := netip.MustParseAddr("fe80::1%eth0")
	for _, v := range []any{
		"text", []int64{1, -2, 300, 1 << 40}, map[string]any{"a": []any{1, "x", nil, 2.5}}, []time.Time{time.Unix(1, 2).UTC()}, 7,
		[][100]int64{{}}, []netip.Prefix{netip.PrefixFrom(addr.WithZone(""), 64)}, []any{strings.Repeat("x", 300), []byte{1}},
		struct {
			A []string
			M map[netip.Addr][]byte
			T time.Time
			S *struct{ N float32 }
		}{[]string{"a"}, map[netip.Addr][]byte{addr: {1}}, time.Unix(9, 9), &struct{ N float32 }{1}},
	} {
		b, err := codec.Marshal(v)
		check(err)
		all = append(all, b)
	}
	return all
}

// mutate changes b in a few places.
func mutate(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(4) {
		at := 0
		if len(b) > 0 {
			at = r.IntN(len(b))
		}
		switch r.IntN(7) {
		case 0:
			b = b[:at]
		case 1:
			b = append(b, b[at:]...)
		case 2:
			b = slices.Insert(b, at, byte(r.Uint32()))
		case 3: // a length that says too much
			b = slices.Insert(b, at, []byte{byte(r.IntN(8))<<5 | 26, 0, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}...)
		case 4:
			if len(b) > 0 {
				b[at] ^= 1 << r.IntN(8)
			}
		case 5:
			b = slices.Insert(b, at, bytes.Repeat([]byte{[]byte{0x80, 0xa0, 0xf6, 0x60, 0x81, 0xc0, 0}[r.IntN(7)]}, r.IntN(20_000))...)
		default:
			if len(b) > 0 {
				b[at] = byte(r.Uint32())
			}
		}
	}
	return b
}

// mutant is the answer to call id, which is the i-th.
func mutant(seed uint64, i int, id uint64, origins [][]byte) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	value := mutate(r, origins[r.IntN(len(origins))])
	outcome := append([]byte{byte(wire.Returned), 0}, value...)
	if r.IntN(200) == 0 {
		outcome = mutate(r, append(errorOf(chain(5, 20)), value...))
	}
	frame := append(header(byte(wire.Result), 0, uint32(len(outcome)), id), outcome...)
	if r.IntN(1000) == 0 {
		frame = append(mutate(r, frame[:30]), frame[min(30, len(frame)):]...)
	}
	return frame
}

func init() {
	testenv.Program(mutantPrefix, func() {
		seed, err := strconv.ParseUint(os.Getenv(hostileEnv), 10, 64)
		check(err)
		f, origins, fds := greeted(), origins(), devNulls(3)
		for {
			c := f.call()
			req, err := wire.ParseRequest(c)
			check(err)
			i := int(binary.LittleEndian.Uint64(req.Value.Bytes))
			frame := mutant(seed, i, c.ID, origins)
			if i%100 == 99 {
				f.raw(frame, fds...)
			} else {
				f.raw(frame)
			}
		}
	})
}

func endureMutants(seed string, calls int) suffered {
	os.Setenv(hostileEnv, seed)
	return endureCalls(mutantPrefix, calls, 64, hostileLimit, func(ctx context.Context, w *Worker, i int) error {
		v := mutantTypes[i%len(mutantTypes)]()
		out, err := w.Do(ctx, wire.Request{
			Name: "mutate", MaxResult: codec.MaxSize(reflect.TypeOf(v).Elem()),
			Value: codec.Value{Bytes: binary.LittleEndian.AppendUint64(nil, uint64(i))},
		})
		if err != nil {
			return err
		}
		err = out.Value.DecodeWithin(ctx, hostileGrace, v)
		if err == nil {
			sys.CloseFiles(codec.FilesIn(reflect.ValueOf(v).Elem().Interface()))
		}
		return err
	})
}

// Nor do answers that are nearly right.
func TestMutatedAnswersCannotHurtTheParent(t *testing.T) {
	needProcess(t)
	calls := testenv.Times(600_000, 3_000)
	seed := rand.Uint64()
	start := time.Now()
	s := sufferedBy(t, mutantPrefix+strconv.FormatUint(seed, 10), calls)
	t.Logf("seed %d: %d answers in %v: %d MiB, %v, %d fine, errors of up to %d bytes: %q", seed, calls, time.Since(start), s.Peak>>20, s.Longest, s.Fine, s.Text, s.Errors)
	if s.Peak > 256<<20 && !testenv.Race || s.Longest > testenv.Bound(hostileLimit+hostileGrace+time.Second) || s.FDs != 0 || s.Goroutines > 0 || s.Fine == 0 {
		t.Errorf("seed %d: %d MiB, %v, %d descriptors and %d goroutines left, %d fine", seed, s.Peak>>20, s.Longest, s.FDs, s.Goroutines, s.Fine)
	}
}

var (
	_ = testenv.Long(TestHostileWorkerCannotFloodItsParent)
	_ = testenv.Long(TestMutatedAnswersCannotHurtTheParent)
)
