//go:build !plan9

package wire

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// chunks is a source made of bytes: each recv gives at most step of them, and one descriptor with every fdEvery-th.
type chunks struct {
	b             []byte
	step, fdEvery int
	recvs         int
	open          map[int]bool
}

func (c *chunks) recv(p []byte) (int, []int, error) {
	n := copy(p, c.b[:min(len(c.b), c.step)])
	c.b = c.b[n:]
	c.recvs++
	if n == 0 || c.fdEvery == 0 || c.recvs%c.fdEvery != 0 {
		return n, nil, nil
	}
	c.open[c.recvs] = true
	return n, []int{c.recvs}, nil
}

func (c *chunks) discard(fds []int) {
	for _, fd := range fds {
		if !c.open[fd] {
			panic("closed twice")
		}
		delete(c.open, fd)
	}
}

func TestStreamSplit(t *testing.T) {
	frames := []header{{Alive, 0, 8, 0}, {Call, 0, 100, 1}, {Result, 0, 0, 2}, {Result, 0, 3 * readAhead, 3}, {Cancel, 0, 0, 4}}
	var all []byte
	for _, h := range frames {
		all = append(h.append(all), bytes.Repeat([]byte{byte(h.id)}, h.length)...)
	}
	for step := 1; step < 2*readAhead; step += 1 + step/10 {
		s := stream{src: &chunks{b: all, step: step}}
		for _, want := range frames {
			h, payload, _, err := s.next()
			if err != nil || h != want || len(payload) != h.length || bytes.Count(payload, []byte{byte(h.id)}) != h.length {
				t.Fatalf("steps of %d: %+v, %v, want %+v", step, h, err, want)
			}
		}
		if _, _, _, err := s.next(); err != io.EOF {
			t.Fatalf("steps of %d: at the end: %v", step, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(header{Call, 0, 3, 1}.append(nil), 1, 0)
	f.Add(append(header{Call, 1, 3, 1}.append(nil), "abc"...), 5, 1)
	f.Add(append(header{Result, 0, 3, 1}.append(nil), header{Cancel, 0, 0, 1}.append([]byte("abc"))...), 100, 0)
	f.Add(header{Result, 0, MaxPayload, 1}.append(nil), 64, 3)
	f.Fuzz(func(t *testing.T, b []byte, step, fdEvery int) {
		src := &chunks{b: b, step: max(step, 1), fdEvery: max(fdEvery, 0), open: map[int]bool{}}
		s := stream{src: src}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for {
			h, payload, fds, err := s.next()
			if err != nil {
				break
			}
			if len(payload) != h.length || len(fds) != h.files {
				t.Fatalf("%+v with %d bytes and %d descriptors", h, len(payload), len(fds))
			}
			src.discard(fds)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20+uint64(64*len(b)) {
			t.Errorf("%d bytes allocated for %d", n, len(b))
		}
		if len(src.open) > 0 {
			t.Errorf("%d descriptors left open", len(src.open))
		}
	})
}

type fuzzed struct {
	I    int32
	U    uint8
	S    string
	B    []byte
	F    float32
	T    time.Time
	P    *fuzzed
	L    []fuzzed
	M    map[string]inner
	K    map[int16]*bool
	A    [3]any
	Any  any
	Raw  map[any]string
	Self []**fuzzed
}

func FuzzValue(f *testing.F) {
	yes := true
	for _, v := range []any{
		1, -1, "s", notUTF8, []byte{1}, 1.5, nil, true, []any{1, "x", nil}, map[string]any{notUTF8: 1}, time.Unix(1, 1), []int{1, 2},
		fuzzed{P: &fuzzed{I: 1}, L: []fuzzed{{}}, M: map[string]inner{"x": {1, "y"}}, K: map[int16]*bool{1: &yes}, Any: []any{time.Unix(1, 0)}},
	} {
		f.Add(must(Marshal(v)))
	}
	f.Add(array(1<<10, 0xf6))
	f.Add([]byte{0xc2, 0x41, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, shape := range []any{new(any), new(fuzzed), new([]kilobyte), new(map[string]string), new([]string), new(time.Time), new(everything), new([][]*int)} {
			if err := Unmarshal(b, shape); err != nil {
				if !errors.Is(err, ErrValue) {
					t.Fatalf("%T: %v", shape, err)
				}
				continue
			}
			v := reflect.ValueOf(shape).Elem().Interface()
			once, err := Marshal(v)
			if err != nil {
				// What decodes must encode again, but for keys that an interface can hold and this side never sends, and
				// years that only an offset makes.
				if errors.Is(err, ErrValue) {
					continue
				}
				t.Fatalf("%T: %v", shape, err)
			}
			again := reflect.New(reflect.TypeOf(shape).Elem())
			if err := Unmarshal(once, again.Interface()); err != nil {
				t.Fatalf("%T: % x: %v", shape, once, err)
			}
			twice, err := Marshal(again.Elem().Interface())
			if err != nil {
				t.Fatalf("%T: %v", shape, err)
			}
			// Maps are encoded in any order.
			if len(once) != len(twice) {
				t.Fatalf("%T: % x became % x", shape, once, twice)
			}
		}
		// The scan sees what the decoder accepts as well formed.
		var v any
		if decMode.Unmarshal(b, &v) == nil {
			s := scanner{b: b, left: MaxDecoded}
			if err := s.item(shapeOf(reflect.TypeFor[any]()), 0); err != nil || len(s.b) > 0 {
				t.Fatalf("scan: %v, %d bytes left", err, len(s.b))
			}
		}
	})
}

func FuzzError(f *testing.F) {
	for _, err := range []error{
		io.EOF, syscall.EPERM, errors.New("x"), isErr{}, errors.Join(io.EOF, errMine),
		&customErr{5, &fs.PathError{Op: "open", Path: "/", Err: syscall.ENOENT}}, &ValueError{Op: "x"},
	} {
		f.Add(MarshalError(err))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err, malformed := UnmarshalError(b)
		if malformed != nil {
			if !errors.Is(malformed, ErrProtocol) || err != nil {
				t.Fatal(malformed)
			}
			return
		}
		if err == nil {
			return
		}
		text := err.Error()
		again := MarshalError(err)
		back, malformed := UnmarshalError(again)
		if malformed != nil || back.Error() != text {
			t.Fatalf("%q became %v, %v", text, back, malformed)
		}
		errors.Is(err, io.EOF)
	})
}

func FuzzOutcome(f *testing.F) {
	for _, o := range []Outcome{
		{Kind: Returned, Value: []byte{1}, Err: io.EOF}, {Kind: Goexited}, {Kind: NotRegistered, Err: errMine},
		{Kind: Panicked, Panic: &Panic{"text", []byte("stack")}}, {Kind: Panicked, Panic: &Panic{io.EOF, nil}},
	} {
		f.Add(must(o.Marshal()))
	}
	f.Add(must(Request{Name: "name"}.Frame(1)).Payload)
	f.Add(must(Request{Name: "name", Place: Place{Root: true, Dir: "/", HasUmask: true}}.Frame(1)).Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseHello(b)
		if r, err := ParseRequest(b); err == nil {
			fr := must(r.Frame(1))
			if got, err := ParseRequest(append(fr.Payload, fr.Tail...)); err != nil || got.Name != r.Name || !bytes.Equal(got.Value, r.Value) {
				t.Fatalf("%+v became %+v, %v", r, got, err)
			}
		}
		o, err := UnmarshalOutcome(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		back, err := UnmarshalOutcome(must(o.Marshal()))
		if err != nil || back.Kind != o.Kind || !bytes.Equal(back.Value, o.Value) || (back.Err == nil) != (o.Err == nil) {
			t.Fatalf("%+v became %+v, %v", o, back, err)
		}
	})
}
