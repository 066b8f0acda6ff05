package codec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// This file is the only way into a value: the parts that it is made of, and how deep a walk may go.

// A part is one of the values that another value is directly made of.
type part struct {
	v     reflect.Value
	shape *shape
	step  string // of the path to it: a field's name, "[]" or "[key]"; "" through a pointer
	key   bool   // it is the key of a map
	flat  bool   // it is an embedded struct, whose fields the encoding has beside its neighbours
}

// A whole is a value to divide into parts along its shape.
type whole struct {
	v     reflect.Value
	shape *shape
	only  traits          // parts that hold one of these
	order []reflect.Value // of the keys of a map; nil for any order
	set   bool            // parts may be set, if v may be: needs order
}

// parts returns the parts of the whole. A leaf has no parts. An interface has no parts, either: the
// value in it has another shape.
func (w *whole) parts(yield func(part) bool) {
	v, sh := w.v, w.shape
	switch sh.kind {
	case reflect.Pointer:
		if !v.IsNil() {
			yield(part{v: v.Elem(), shape: sh.elem})
		}
	case reflect.Struct:
		for i := range sh.fields {
			f := &sh.fields[i]
			if !f.shape.holds.has(w.only) {
				continue
			}
			if !yield(part{v: v.Field(f.index), shape: f.shape, step: f.name, flat: f.embedded}) {
				return
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if !yield(part{v: v.Index(i), shape: sh.elem, step: "[]"}) {
				return
			}
		}
	case reflect.Map:
		if w.order == nil {
			w.entries(yield)
		} else {
			w.elements(yield)
		}
	}
}

// entries gives the keys and elements of a map.
func (w *whole) entries(yield func(part) bool) {
	for it := w.v.MapRange(); it.Next(); {
		if !yield(part{v: it.Key(), shape: w.shape.key, step: "[key]", key: true}) ||
			!yield(part{v: it.Value(), shape: w.shape.elem, step: "[]"}) {
			return
		}
	}
}

// elements gives the elements of a map in order. An element cannot be set inside a map. So each
// element that may be set is a copy, which is put back.
func (w *whole) elements(yield func(part) bool) {
	for _, key := range w.order {
		elem := w.v.MapIndex(key)
		if w.set {
			settable := reflect.New(w.shape.elem.t).Elem()
			settable.Set(elem)
			elem = settable
		}
		if !yield(part{v: elem, shape: w.shape.elem, step: "[]"}) {
			return
		}
		if w.set {
			w.v.SetMapIndex(key, elem)
		}
	}
}

// keysInOrder sorts the keys of a map by their encoding, which is the same on both sides. It
// refuses NaN: nothing finds an element whose key is NaN.
func keysInOrder(m reflect.Value) ([]reflect.Value, error) {
	type entry struct {
		encoded []byte
		key     reflect.Value
	}
	entries := make([]entry, 0, m.Len())
	for it := m.MapRange(); it.Next(); {
		encoded, err := modes().enc.Marshal(it.Key().Interface())
		if err != nil {
			return nil, err
		}
		if !m.MapIndex(it.Key()).IsValid() {
			return nil, errors.New("a key of a map is not equal to itself")
		}
		entries = append(entries, entry{encoded, it.Key()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.encoded, b.encoded) })
	keys := make([]reflect.Value, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys, nil
}

// A depth is how far down a part is.
type depth struct {
	levels int // containers around it
	hops   int // pointers and interfaces since the last container; the encoding does not show them
}

// into returns the depth of a part of a value at d.
func (d depth) into(p part) depth {
	switch {
	case p.step == "":
		return d.hop()
	case p.flat:
		return depth{levels: d.levels}
	}
	return depth{levels: d.levels + 1}
}

func (d depth) hop() depth { return depth{d.levels, d.hops + 1} }

// A descent makes sure that a walk ends. Values may have cycles, and values that share pointers may
// unfold without end.
type descent struct {
	seen    int
	endless bool // it saw more than an encoding has room for: a part is a byte at least
}

// enter counts one more part, which is of shape sh and lies at d.
func (w *descent) enter(sh *shape, d depth, levels int) *ValueError {
	if w.seen++; w.seen > MaxValue {
		w.endless = true
		return sh.fault(fmt.Sprintf("more than %d parts, or a cycle", MaxValue))
	}
	if d.levels > levels || d.hops > MaxDepth {
		return sh.fault(fmt.Sprintf("nested deeper than %d, or a cycle, as of pointers that lead back; neither crosses", levels))
	}
	return nil
}
