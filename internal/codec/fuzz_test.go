package codec

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

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
				// What decodes must encode again, but for keys that an interface can hold and this
				// side never sends, and years that only an offset makes.
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
		if modes().dec.Unmarshal(b, &v) == nil {
			s := scanner{b: b, left: MaxDecoded, limit: MaxDecoded}
			if err := s.item(shapeOf(reflect.TypeFor[any]()), 0); err != nil || len(s.b) > 0 {
				t.Fatalf("scan: %v, %d bytes left", err, len(s.b))
			}
		}
	})
}
