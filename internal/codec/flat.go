package codec

import (
	"reflect"
	"slices"
)

// Flat is a type for whose values an assignment has the same result as encoding and decoding:
// numbers, booleans, strings, and arrays and structs of them. Copies share the strings: nobody can
// change them.
type Flat struct {
	strings [][]int // the ways to them, by the index of an element or a field
}

const (
	maxFlatSize    = 16 << 10 // larger values should not be copied from stack to stack
	maxFlatStrings = 64       // each value's strings are looked at
)

// FlatOf returns nil if t is not flat, or too large to be treated as if it were.
func FlatOf(t reflect.Type) *Flat {
	f := new(Flat)
	if t == nil || t.Size() > maxFlatSize || shapeOf(t).bad != nil || !f.add(t, nil) {
		return nil
	}
	return f
}

// add adds the strings of t, which is found by way.
func (f *Flat) add(t reflect.Type, way []int) bool {
	switch k := shapeOf(t).kind; { // a type that encodes itself has no kind here
	case k >= reflect.Bool && k <= reflect.Uint64 || k == reflect.Float32 || k == reflect.Float64:
		return true
	case k == reflect.String:
		f.strings = append(f.strings, slices.Clone(way))
		return len(f.strings) <= maxFlatStrings
	case k == reflect.Array:
		for i := range t.Len() {
			before := len(f.strings)
			if !f.add(t.Elem(), append(way, i)) {
				return false
			}
			if len(f.strings) == before { // nor has any other
				break
			}
		}
		return true
	case k == reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			// Fields that are not exported do not cross. A tag or an embedded struct may keep more
			// fields from crossing.
			if !field.IsExported() || field.Anonymous || field.Tag != "" || !f.add(field.Type, append(way, i)) {
				return false
			}
		}
		return true
	}
	return false
}

// Len returns how many bytes the strings have in the value that p points to.
func (f *Flat) Len(p any) (n int) {
	if len(f.strings) == 0 {
		return 0
	}
	v := reflect.ValueOf(p).Elem()
	for _, way := range f.strings {
		at := v
		for _, i := range way {
			if at.Kind() == reflect.Array {
				at = at.Index(i)
			} else {
				at = at.Field(i)
			}
		}
		n += at.Len()
	}
	return n
}
