package codec

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

func itemsOf(t testing.TB, values ...any) []byte {
	t.Helper()
	var b []byte
	for _, v := range values {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		var err error
		if b, err = AppendItem(b, p.Interface()); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestItemsCross(t *testing.T) {
	large := strings.Repeat("x", uncountedItem+1)
	r := NewItemReader(bytes.NewReader(itemsOf(t, "a", "", large, "b")), typeString(), NewItems())
	for _, want := range []string{"a", "", large, "b"} {
		var got string
		if held, err := r.Next(&got, nil); err != nil || got != want {
			t.Errorf("%.20q, %v", got, err)
		} else {
			held.Release()
		}
	}
	if _, err := r.Next(new(string), nil); err != io.EOF {
		t.Error(err)
	}
}

func TestMalformedItems(t *testing.T) {
	for what, tt := range map[string]struct {
		b  []byte
		is error
	}{
		"half a length":  {[]byte{1, 0}, io.ErrUnexpectedEOF},
		"no value":       {[]byte{1, 0, 0, 0}, io.ErrUnexpectedEOF},
		"half a value":   {[]byte{2, 0, 0, 0, 0x18}, io.ErrUnexpectedEOF},
		"too long":       {[]byte{1, 0, 0x40, 0}, ErrTooLarge},
		"more than fits": {[]byte{10, 0, 0, 0}, ErrTooLarge},
		"empty":          {[]byte{0, 0, 0, 0}, ErrValue},
		"another type":   {[]byte{1, 0, 0, 0, 0x60}, ErrValue},
	} {
		if _, err := NewItemReader(bytes.NewReader(tt.b), reflect.TypeFor[int](), NewItems()).Next(new(int), nil); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Items that were decoded, and that nobody has received yet, have one budget for all readers. A
// reader that waits for room can be woken.
func TestItemsThatWaitCannotExceedTheirBudget(t *testing.T) {
	const size, room, readers = 256 << 10, 1 << 20, 32
	of := &Items{NewBudget(room), NewBudget(room)}
	b := itemsOf(t, make([]byte, size))
	var mu sync.Mutex
	var held []*Charge
	stop, ended := make(chan struct{}), make(chan error)
	for range readers {
		go func() {
			c, err := NewItemReader(bytes.NewReader(b), reflect.TypeFor[[]byte](), of).Next(new([]byte), stop)
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
			ended <- err
		}()
	}
	for range room/size - 1 { // a byte more than size each
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	testenv.Eventually(t, "the budget is taken", func() bool {
		c, wait := of.decoded.try(size)
		c.Release()
		return wait != nil
	})
	mu.Lock()
	if n := len(held); n > room/size {
		t.Errorf("%d values at once", n)
	}
	mu.Unlock()
	close(stop)
	for range readers - (room/size - 1) {
		<-ended // woken, or served when another one was
	}
	for _, c := range held {
		c.Release()
	}
	for _, b := range []*Budget{of.read, of.decoded} {
		if b.taken != 0 {
			t.Errorf("%d bytes are still taken", b.taken)
		}
	}
}

func FuzzItem(f *testing.F) {
	type part struct {
		N    int
		S    []string
		M    map[string]any
		Next *part
	}
	f.Add(itemsOf(f, part{N: 1, S: []string{"a"}, M: map[string]any{"k": 1}, Next: &part{}}))
	f.Add([]byte{1, 0, 0, 0, 0xf6, 1, 0, 0, 0, 0xf6})
	f.Fuzz(func(t *testing.T, b []byte) {
		of := NewItems()
		r := NewItemReader(bytes.NewReader(b), reflect.TypeFor[part](), of)
		for {
			var v part
			held, err := r.Next(&v, nil)
			if err != nil {
				break
			}
			held.Release()
			if _, err := AppendItem(nil, &v); err != nil && !errors.Is(err, ErrValue) && !errors.Is(err, ErrTooLarge) {
				t.Error(err)
			}
		}
		if of.read.taken != 0 || of.decoded.taken != 0 {
			t.Error("memory is still taken")
		}
	})
}
