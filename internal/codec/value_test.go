package codec

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

type inner struct {
	A int
	B string
}

type embedded struct {
	inner
	*Outer
	C int
}

type Outer struct{ D string }

type list struct {
	N    int
	Next *list
}

type everything struct {
	I8        int8
	I64       int64
	U64       uint64
	F32       float32
	F64       float64
	B         bool
	S         string
	Bytes     []byte
	Array     [3]int16
	ByteArray [4]byte
	Slice     []inner
	Map       map[string]inner
	IntMap    map[int]string
	StructMap map[inner]bool
	Ptr       *inner
	Time      time.Time
	Dur       time.Duration
	Addr      netip.Addr
	URL       url.URL
	Big       *big.Int
	Any       any
	Tagged    int `json:"other,omitempty"`
	hidden    int
	Skipped   chan int `json:"-"`
}

// Unmarshal is UnmarshalWithin any room.
func Unmarshal(b []byte, v any) error {
	_, err := UnmarshalWithin(b, v, noLimit)
	return err
}

const notUTF8 = "a\xff\xfe/\x00b\xc3"

func TestValuesRoundTrip(t *testing.T) {
	self := 42
	berlin := time.FixedZone("", 3600)
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	for name, v := range map[string]any{
		"int":             -5,
		"min":             int64(math.MinInt64),
		"max":             uint64(math.MaxUint64),
		"int8":            int8(-128),
		"inf":             []float64{math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), math.MaxFloat64},
		"float32":         float32(math.Pi),
		"bool":            true,
		"not UTF-8":       notUTF8,
		"not UTF-8 slice": []string{notUTF8, ""},
		"not UTF-8 key":   map[string]string{notUTF8: notUTF8, "\xff": ""},
		"not UTF-8 any":   map[string]any{notUTF8: []any{notUTF8, map[string]any{"\xfe": notUTF8}}},
		"empty bytes":     []byte{},
		"nil bytes":       []byte(nil),
		"empty slice":     []int{},
		"nil slice":       []int(nil),
		"empty map":       map[string]int{},
		"nil map":         map[string]int(nil),
		"nil and empty":   [][]string{nil, {}, {""}},
		"pointer":         &self,
		"nil pointer":     (*inner)(nil),
		"empty struct":    struct{}{},
		"embedded":        embedded{inner{1, "x"}, &Outer{"d"}, 3},
		"embedded nil":    embedded{inner{1, "x"}, nil, 3},
		"list":            list{1, &list{2, &list{3, nil}}},
		"time":            time.Date(2024, 2, 29, 23, 59, 59, 123456789, berlin),
		"time UTC":        time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		"zero time":       time.Time{},
		"times":           map[time.Time]time.Time{time.Unix(1, 2).UTC(): {}},
		"duration":        time.Hour,
		"netip":           []netip.Prefix{netip.MustParsePrefix("fe80::/10"), {}},
		"big":             huge,
		"any nil":         []any{nil},
		"any":             []any{int64(-1), int64(1), 1.5, "s", true, []byte{1}, []any{}, map[string]any{}, huge, time.Unix(5, 6).UTC()},
		"large any":       []any{new(big.Int).SetUint64(math.MaxUint64)},
		"everything": everything{
			I8: -1, I64: math.MinInt64, U64: math.MaxUint64, F32: 1.25, F64: 0.1, B: true, S: notUTF8, Bytes: []byte(notUTF8),
			Array: [3]int16{1, -2, 3}, ByteArray: [4]byte{1, 2, 3, 4}, Slice: []inner{{1, "a"}, {}}, Map: map[string]inner{"k": {2, "b"}},
			IntMap: map[int]string{-1: "x"}, StructMap: map[inner]bool{{1, "k"}: true}, Ptr: &inner{3, "c"},
			Time: time.Unix(1e9, 999999999).In(berlin), Dur: -1, Addr: netip.MustParseAddr("10.0.0.1"),
			URL: url.URL{Scheme: "https", Host: "h", Path: "/p"}, Big: big.NewInt(7), Any: map[string]any{"x": "y"}, Tagged: 9,
		},
		"10 MiB bytes":   bytes.Repeat([]byte("x"), 10<<20),
		"10 MiB string":  strings.Repeat("\xff", 10<<20),
		"10 MiB strings": slicesRepeat(strings.Repeat("some string", 10), 100_000),
		"10 MiB ints":    slicesRepeat(int64(1<<40), 1_200_000),
		"10 MiB structs": slicesRepeat(inner{1e9, strings.Repeat("some string", 10)}, 90_000),
		"10 MiB map":     bigMap(90_000),
		"10 MiB any":     []any{slicesRepeat[any](strings.Repeat("some string", 10), 100_000)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.New(reflect.TypeOf(v))
			if err := Unmarshal(b, got.Interface()); err != nil {
				t.Fatal(err)
			}
			if reflect.TypeOf(v) == typeTime() {
				if want, got := v.(time.Time), got.Elem().Interface().(time.Time); !want.Equal(got) || want.Format(time.RFC3339Nano) != got.Format(time.RFC3339Nano) {
					t.Errorf("%v became %v", want, got)
				}
				return
			}
			if name == "everything" {
				e := got.Interface().(*everything)
				if !e.Time.Equal(v.(everything).Time) {
					t.Errorf("time became %v", e.Time)
				}
				e.Time = v.(everything).Time
			}
			if !reflect.DeepEqual(got.Elem().Interface(), v) {
				t.Errorf("%.200v became %.200v", v, got.Elem())
			}
		})
	}
}

func slicesRepeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

func bigMap(n int) map[int]string {
	m := make(map[int]string, n)
	for i := range n {
		m[i] = strings.Repeat("some string", 10)
	}
	return m
}

func TestNaN(t *testing.T) {
	b, err := Marshal([]float64{math.NaN()})
	var got []float64
	if err == nil {
		err = Unmarshal(b, &got)
	}
	if err != nil || len(got) != 1 || !math.IsNaN(got[0]) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTimeInstant: an offset with seconds cannot be said, the instant must be right all the same.
func TestTimeInstant(t *testing.T) {
	want := time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("LMT", 1172))
	b, err := Marshal([]time.Time{want, time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var got []time.Time
	if err := Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !got[0].Equal(want) {
		t.Errorf("%v became %v", want, got[0])
	}
	if _, err := Marshal(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)); !errors.Is(err, ErrValue) {
		t.Errorf("year 10000: %v", err)
	}
}

type opaqueStruct struct{ x int }

type oneWay struct{ X int }

func (oneWay) MarshalBinary() ([]byte, error) { return nil, nil }

type panics struct{ X int }

func (panics) MarshalBinary() ([]byte, error)  { panic("on the way out") }
func (*panics) UnmarshalBinary(b []byte) error { panic("on the way in") }

func TestCheckType(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string // "" is fine
	}{
		{everything{}, ""},
		{embedded{}, ""},
		{list{}, ""},
		{map[string]any{}, ""},
		{cbor.RawMessage{}, ""},
		{struct {
			sync.Mutex
			X int
		}{}, "Mutex of struct"},
		{struct {
			mu sync.Mutex
			X  int
		}{}, ""},
		{struct{ C chan int }{}, "cannot encode chan int in field C of struct { C chan int }"},
		{map[string][]*struct{ F func() }{}, "cannot encode func() in field [][].F of map[string][]*struct { F func() }"},
		{struct{ E error }{}, "cannot encode error in field E"},
		{struct{ *os.File }{}, "embedded file"},
		{struct{ C complex128 }{}, "complex128"},
		{struct{ P uintptr }{}, "uintptr"},
		{struct{ F *os.File }{}, ""},
		{map[string][]*os.File{}, ""},
		{struct{ F os.File }{}, "cannot encode os.File in field F of struct { F os.File }: a file crosses as *os.File only"},
		{os.File{}, "os.File"},
		{map[*os.File]int{}, "files cannot cross within keys"},
		{map[[1]struct{ F *os.File }]int{}, "files cannot cross within keys"},
		{opaqueStruct{}, "no exported field"},
		{big.Rat{}, "no exported field"},
		{oneWay{}, "MarshalBinary but no UnmarshalBinary"},
		{func() {}, "cannot encode func()"},
		{map[string]chan int{}, "field []"},
	} {
		err := CheckType(reflect.TypeOf(tt.v))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%T: %v", tt.v, err)
			}
			continue
		}
		if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%T: %v, want %q", tt.v, err, tt.want)
		}
		if _, err2 := Marshal(tt.v); err2 == nil || err2.Error() != err.Error() {
			t.Errorf("%T: CheckType says %v, Marshal %v", tt.v, err, err2)
		}
	}
	if err := CheckType(nil); !errors.Is(err, ErrValue) {
		t.Error(err)
	}
}

func TestMarshalRefuses(t *testing.T) {
	loop := &list{}
	loop.Next = loop
	var self any
	self = &self
	slice := []any{nil}
	slice[0] = slice
	m := map[string]any{}
	m["m"] = m
	type ptr *ptr
	var p ptr
	p = &p
	deep := any("bottom")
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for name, tt := range map[string]struct {
		v    any
		want error
		text string
	}{
		"list in a cycle":       {loop, ErrValue, "cycle"},
		"interface in a cycle":  {self, ErrValue, "cycle"},
		"slice in a cycle":      {slice, ErrValue, "cycle"},
		"map in a cycle":        {m, ErrValue, "cycle"},
		"pointer in a cycle":    {p, ErrValue, "cycle"},
		"deep":                  {deep, ErrValue, "deeper"},
		"chan within interface": {struct{ X map[string]any }{map[string]any{"k": []any{make(chan int)}}}, ErrValue, "cannot encode chan int in field X[][] of struct"},
		"file within interface": {[]any{os.Stdin}, ErrValue, "cannot encode *os.File in field [] of []any: files cannot cross within interfaces such as any: give it the type *os.File"},
		"int keys in interface": {[]any{map[int]string{1: ""}}, ErrValue, "string keys can cross; give it the type map[int]string in place of any, or use strings as keys"},
		"any keys in interface": {[]any{map[any]any{1: ""}}, ErrValue, "string keys"},
		"panic":                 {panics{1}, ErrValue, "on the way out"},
		"large":                 {make([]byte, MaxValue), ErrTooLarge, "exceeds the limit of 67108864"},
		"large string":          {strings.Repeat("x", MaxValue), ErrTooLarge, "exceeds the limit of 67108864"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Marshal(tt.v)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
		})
	}
	ok := any("bottom")
	for range MaxDepth {
		ok = []any{ok}
	}
	b, err := Marshal(ok)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := Unmarshal(b, &got); err != nil {
		t.Errorf("%d levels: %v", MaxDepth, err)
	}
}

// TestSharedWithoutEnd: pointers that are shared again and again unfold into more than there is
// room for.
func TestSharedWithoutEnd(t *testing.T) {
	type dag struct{ L, R *dag }
	d := &dag{}
	for range 100 {
		d = &dag{d, d}
	}
	l := look{descent: descent{seen: MaxValue - 1000}} // the beginning takes its time
	if err := l.at(reflect.ValueOf(d), shapeOf(reflect.TypeOf(d)), false, depth{}); err == nil || !l.endless {
		t.Errorf("got %v", err)
	}
}

type kilobyte struct {
	Name string
	Pad  [1000]byte
}

func array(n int, elem ...byte) []byte {
	b := []byte{0x9a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(b, bytes.Repeat(elem, n)...)
}

func TestUnmarshalRefuses(t *testing.T) {
	bignum := func(n int) []byte {
		return append([]byte{0xc2, 0x5a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xff}, n)...)
	}
	for name, tt := range map[string]struct {
		b []byte
		v any
	}{
		"nothing":             {nil, new(int)},
		"trailing":            {[]byte{1, 1}, new(int)},
		"cut":                 {[]byte{0x82, 1}, new([]int)},
		"length":              {[]byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, new([]int)},
		"bytes length":        {[]byte{0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, new([]byte)},
		"map length":          {[]byte{0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, new(map[string]int)},
		"indefinite":          {[]byte{0x9f, 1, 0xff}, new([]int)},
		"overflow":            {[]byte{0x19, 1, 0}, new(int8)},
		"negative":            {[]byte{0x20}, new(uint)},
		"other type":          {[]byte{0x61, 'x'}, new(int)},
		"double key":          {[]byte{0xa2, 0x61, 'x', 1, 0x61, 'x', 2}, new(map[string]int)},
		"double key in any":   {[]byte{0xa2, 0x61, 'x', 1, 0x61, 'x', 2}, new(any)},
		"double field":        {[]byte{0xa2, 0x61, 'A', 1, 0x61, 'A', 2}, new(inner)},
		"unknown field":       {[]byte{0xa1, 0x61, 'Z', 1}, new(inner)},
		"other case":          {[]byte{0xa1, 0x61, 'a', 1}, new(inner)},
		"slice as key":        {[]byte{0xa1, 0x80, 1}, new(map[any]int)},
		"deep":                {append(bytes.Repeat([]byte{0x81}, 100_000), 1), new(any)},
		"deep tags":           {append(bytes.Repeat([]byte{0xc6}, 100_000), 1), new(any)},
		"small in, large out": {array(1<<20, 0xf6), new([]kilobyte)},
		"empty structs":       {array(1<<20, 0xa0), new([]kilobyte)},
		"pointers":            {array(1<<20, 0xa0), new([]*kilobyte)},
		"maps":                {array(8<<20, 0xa0), new([]map[string]int)},
		"maps in any":         {array(8<<20, 0xa0), new(any)},
		"nested":              {array(1, array(1<<20, 0xf6)...), new([][]kilobyte)},
		"in a field":          {append([]byte{0xa1, 0x61, 'F'}, array(1<<20, 0xf6)...), new(struct{ F []kilobyte })},
		"number to print":     {bignum(1 << 20), new(int)},
		"number in any":       {bignum(1 << 20), new(any)},
		"panic":               {[]byte{0x41, 1}, new(panics)},
		"chan":                {[]byte{0xf6}, new(chan int)},
		"not a pointer":       {[]byte{1}, 1},
		"nil pointer":         {[]byte{1}, (*int)(nil)},
		"nil":                 {[]byte{1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if err := Unmarshal(tt.b, tt.v); !errors.Is(err, ErrValue) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func BenchmarkValue(b *testing.B) {
	type small struct {
		Path string
		N    int
		Tags []string
	}
	type dynamic struct {
		Path string
		Args map[string]any
	}
	bench := func(name string, v any) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				enc, err := Marshal(v)
				if err != nil {
					b.Fatal(err)
				}
				if err := Unmarshal(enc, reflect.New(reflect.TypeOf(v)).Interface()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bench("int", 5)
	bench("small", small{"/some/path", 42, []string{"a", "b"}})
	bench("dynamic", dynamic{"/some/path", map[string]any{"a": 1, "b": []any{"c"}}})
	bench("10MiB", make([]byte, 10<<20))
	bench("10MiB-ints", make([]int, 10<<20))
}
