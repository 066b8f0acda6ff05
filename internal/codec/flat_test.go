package codec_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/codec"
)

type kind int8

type flatAll struct {
	B bool
	K kind
	U uint64
	F float32
	D time.Duration
	S string
	A [3]struct{ X, Y string }
	N [5]byte
	E struct{}
}

type selfMade int

func (selfMade) MarshalBinary() ([]byte, error) { return nil, nil }
func (*selfMade) UnmarshalBinary([]byte) error  { return nil }

// What is flat is after its encoding what it was before, whatever is in it; what may not be, is not.
func TestFlat(t *testing.T) {
	full := flatAll{B: true, K: -3, U: math.MaxUint64, F: float32(math.Inf(1)), D: -time.Hour, S: "\xff\x00", N: [5]byte{1, 2}}
	full.A[2].Y = "ü"
	for _, v := range []any{
		false, kind(-128), uint8(255), math.Copysign(0, -1), "", "not UTF-8: \xff", struct{}{}, flatAll{}, full, [2]flatAll{1: full}, [0]string{},
		[4096]uint32{9: 1}, [64]string{63: "x"},
	} {
		rt := reflect.TypeOf(v)
		f := codec.FlatOf(rt)
		if f == nil {
			t.Errorf("%v is not flat", rt)
			continue
		}
		b, err := codec.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(rt)
		if err := codec.Unmarshal(b, got.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Elem().Interface(), v) {
			t.Errorf("%#v came back as %#v", v, got.Elem())
		}
		again, err := codec.Marshal(got.Elem().Interface())
		if err != nil || !bytes.Equal(b, again) { // zeros have signs
			t.Errorf("%x, and then %x, %v", b, again, err)
		}
	}
	if n, want := codec.FlatOf(reflect.TypeOf(full)).Len(&full), len(full.S)+len(full.A[2].Y); n != want {
		t.Errorf("%d bytes of strings, want %d", n, want)
	}
	for _, v := range []any{
		nil, []int{}, map[string]int{}, new(int), time.Time{}, selfMade(0), complex(1, 0), uintptr(1), func() {}, make(chan int),
		struct{ A, b int }{}, struct {
			X int `json:"-"`
		}{}, struct{ flatAll }{}, struct{ A any }{}, struct{ S selfMade }{}, [65]string{}, [33]struct{ A, B string }{}, [4097]uint32{},
		struct{ A [1]error }{},
	} {
		if codec.FlatOf(reflect.TypeOf(v)) != nil {
			t.Errorf("%T is flat", v)
		}
	}
	if long := strings.Repeat("x", 1<<20); codec.FlatOf(reflect.TypeOf(long)).Len(&long) != 1<<20 {
		t.Error("a long string")
	}
}
