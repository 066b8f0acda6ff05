package codec

import (
	"reflect"
	"unsafe"
)

// Flat is a type whose values are after an assignment what they are after they were encoded and decoded: numbers,
// booleans, strings, and arrays and structs of them. Its strings are shared, as nobody can change them.
type Flat struct {
	strings []uintptr // where they are
}

const (
	maxFlatSize    = 16 << 10 // what is larger is better not copied from stack to stack
	maxFlatStrings = 64       // which are looked at for each value
)

// FlatOf returns nil if t is not flat, or too large to be treated as if it were.
func FlatOf(t reflect.Type) *Flat {
	f := new(Flat)
	if t == nil || t.Size() > maxFlatSize || shapeOf(t).bad != nil || !f.add(t, 0) {
		return nil
	}
	return f
}

func (f *Flat) add(t reflect.Type, at uintptr) bool {
	sh := shapeOf(t)
	k := sh.kind // that of a type which encodes itself is none
	switch {
	case k >= reflect.Bool && k <= reflect.Uint64 || k == reflect.Float32 || k == reflect.Float64:
		return true
	case k == reflect.String:
		f.strings = append(f.strings, at)
		return len(f.strings) <= maxFlatStrings
	case k == reflect.Array:
		one := new(Flat)
		if !one.add(t.Elem(), 0) || len(one.strings)*t.Len() > maxFlatStrings {
			return false
		}
		for i := range t.Len() {
			for _, s := range one.strings {
				f.strings = append(f.strings, at+uintptr(i)*t.Elem().Size()+s)
			}
			if len(one.strings) == 0 {
				break
			}
		}
		return len(f.strings) <= maxFlatStrings
	case k == reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			// What is not exported does not cross, and a tag or an embedded struct may keep more from it.
			if !field.IsExported() || field.Anonymous || field.Tag != "" || !f.add(field.Type, at+field.Offset) {
				return false
			}
		}
		return true
	}
	return false
}

// Len returns how many bytes the strings of the value at p have.
func (f *Flat) Len(p unsafe.Pointer) int {
	n := 0
	for _, at := range f.strings {
		n += len(*(*string)(unsafe.Add(p, at)))
	}
	return n
}
