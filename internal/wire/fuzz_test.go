//go:build !plan9

package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
)

// chunks is a source made of bytes: each read gives at most step of them. Every fdEvery-th frame that
// announces descriptors has them, the next one loses them, and with 0 they never come.
type chunks struct {
	b             []byte
	step, fdEvery int
	asked, last   int
	open          map[int]bool
}

func (c *chunks) read(p []byte) (int, error) {
	n := copy(p, c.b[:min(len(c.b), c.step)])
	c.b = c.b[n:]
	return n, nil
}

func (c *chunks) receive(n int) (fds []int, lost, err error) {
	c.asked++
	switch {
	case c.fdEvery == 0:
		return nil, nil, violation("none")
	case c.asked%c.fdEvery == 1:
		return nil, errMine, nil
	}
	for range n {
		c.last++
		c.open[c.last] = true
		fds = append(fds, c.last)
	}
	return fds, nil, nil
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
		s := deframer{src: &chunks{b: all, step: step}}
		for _, want := range frames {
			f, err := s.next()
			if err != nil || f.header != want || len(f.payload) != f.length || bytes.Count(f.payload, []byte{byte(f.id)}) != f.length {
				t.Fatalf("steps of %d: %+v, %v, want %+v", step, f.header, err, want)
			}
		}
		if _, err := s.next(); err != io.EOF {
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
		s := deframer{src: src}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for {
			f, err := s.next()
			if err != nil {
				break
			}
			if len(f.payload) != f.length || len(f.fds) != f.files && f.lost == nil || f.lost != nil && f.fds != nil {
				t.Fatalf("%+v with %d bytes and %d descriptors", f.header, len(f.payload), len(f.fds))
			}
			src.discard(f.fds)
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

func FuzzOutcome(f *testing.F) {
	for _, o := range []Outcome{
		{Kind: Returned, Value: codec.Value{Bytes: []byte{1}}, Err: io.EOF}, {Kind: Goexited}, {Kind: NotRegistered, Err: errMine},
		{Kind: Panicked, Panic: &Panic{"text", []byte("stack")}}, {Kind: Panicked, Panic: &Panic{io.EOF, nil}},
	} {
		f.Add(whole(must(o.Frame(1))).Payload)
	}
	f.Add(must((&Request{Name: "name"}).Frame(1)).Payload)
	f.Add(must((&Request{Name: "name", Place: sys.Place{Root: os.Stdin, Dir: "/", HasUmask: true}}).Frame(1)).Payload)
	f.Add(must((&Request{Name: "name", Place: sys.Place{DirFile: os.Stdin}}).Frame(1)).Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseHello(b)
		if r, err := ParseRequest(Frame{Payload: b}); err == nil {
			got, err := ParseRequest(whole(must(r.Frame(1))))
			if err != nil || got.Name != r.Name || !bytes.Equal(got.Value.Bytes, r.Value.Bytes) {
				t.Fatalf("%+v became %+v, %v", r, got, err)
			}
		}
		o, err := ParseOutcome(Frame{Payload: b})
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		back, err := o.Cross()
		if err != nil || back.Kind != o.Kind || !bytes.Equal(back.Value.Bytes, o.Value.Bytes) || (back.Err == nil) != (o.Err == nil) {
			t.Fatalf("%+v became %+v, %v", o, back, err)
		}
	})
}
