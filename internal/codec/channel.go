package codec

import (
	"os"
	"reflect"
	"strconv"
	"sync"
)

// A channel in an argument crosses as the ends of two pipes. A type that holds channels has a
// mirror: a type of the same structure that has Ends in place of the channels. The value's mirror
// is encoded. Both sides make the mirror from the same Go type.

// Ends are what a channel crosses as. Its values come through one pipe, as items. Through the other,
// the receiver says how many more values there may be.
type Ends struct {
	Values *os.File
	Credit *os.File
}

func typeEnds() reflect.Type { return reflect.TypeFor[*Ends]() }

// HasChannels reports whether values of type t, which can cross, may hold channels.
func HasChannels(t reflect.Type) bool { return t != nil && shapeOf(t).holds.has(channel) }

// channelFault says why a channel type does not cross, if it does not.
func (sh *shape) channelFault() *ValueError {
	if sh.t.ChanDir() == reflect.BothDir {
		return sh.fault("a channel in an argument has a direction: chan<- T for what the function sends, <-chan T for what it receives")
	}
	return nil
}

// checkChannels checks the item types of the channels, and makes the mirror of root.
func (b *shapeBuilder) checkChannels(root *shape) *ValueError {
	if !root.holds.has(channel) {
		return nil
	}
	for _, sh := range b.all {
		switch {
		case sh.is.has(channel) && sh.item.holds.has(file):
			return sh.fault("what a channel carries cannot hold files, readers, writers or channels")
		case sh.holds.has(channel) && sh.reach()[sh]:
			return sh.fault("a type that holds channels cannot hold itself")
		}
	}
	var bad *ValueError
	if root.mirror, bad = mirrorOf(root, false); bad == nil {
		mirrored.Store(root.mirror, root.t)
	}
	return bad
}

// mirrored has the types that mirrors were made of, for errors.
var mirrored sync.Map

// name is the name of a type. For a mirror, it is the name of the original type.
func (sh *shape) name() string {
	t := sh.t
	if t.Kind() == reflect.Pointer { // as Connect returns it
		t = t.Elem()
	}
	if t.Kind() == reflect.Interface { // the caller says the type this way
		return t.String()
	}
	if t, ok := mirrored.Load(t); ok {
		return t.(reflect.Type).String()
	}
	return sh.t.String()
}

// mirrorOf makes the mirror of sh, which is no part of a cycle. hidden says that it is an embedded
// field that is not exported: its own fields can be set, but not it as a whole.
func mirrorOf(sh *shape, hidden bool) (reflect.Type, *ValueError) {
	switch {
	case sh.is.has(channel):
		return typeEnds(), nil
	case !sh.holds.has(channel) && !hidden:
		return sh.t, nil
	case sh.kind == reflect.Struct:
		return mirrorOfStruct(sh)
	case hidden:
		return nil, sh.fault("beside channels, an embedded pointer to a struct that is not exported cannot be set")
	}
	elem, bad := mirrorOf(sh.elem, false)
	if bad != nil {
		return nil, bad
	}
	switch sh.kind {
	case reflect.Pointer:
		return reflect.PointerTo(elem), nil
	case reflect.Slice:
		return reflect.SliceOf(elem), nil
	case reflect.Array:
		return reflect.ArrayOf(sh.t.Len(), elem), nil
	}
	return reflect.MapOf(sh.key.t, elem), nil
}

// mirrorOfStruct embeds nothing, so that names and methods cannot meet.
func mirrorOfStruct(sh *shape) (reflect.Type, *ValueError) {
	fields := make([]reflect.StructField, len(sh.fields))
	for i, f := range sh.fields {
		hidden := !sh.t.Field(f.index).IsExported()
		t, bad := mirrorOf(f.shape, hidden)
		if bad != nil {
			return nil, bad.in(f.name)
		}
		fields[i] = reflect.StructField{Name: f.name, Type: t}
		if hidden {
			fields[i].Name = "Embedded" + strconv.Itoa(i) + "_" + f.name
		}
	}
	return reflect.StructOf(fields), nil
}

// A mirroring copies values to their mirrors, or mirrors back to values.
type mirroring struct {
	channel func(path string, dst, src reflect.Value) error // copies a channel that is not nil
	path    []string
}

// copy copies src, which is of shape sh or its mirror, to dst, which is of the other. dst is zero.
func (m *mirroring) copy(dst, src reflect.Value, sh *shape) error {
	switch {
	case sh.is.has(channel):
		if src.IsNil() {
			return nil
		}
		return m.channel(pathOf(m.path), dst, src)
	case dst.Type() == src.Type():
		dst.Set(src)
		return nil
	case sh.kind == reflect.Struct:
		return m.fields(dst, src, sh)
	case sh.kind == reflect.Array:
		return m.elements(dst, src, sh)
	case src.IsNil():
		return nil
	}
	switch sh.kind {
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		return m.copy(dst.Elem(), src.Elem(), sh.elem)
	case reflect.Slice:
		dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
		return m.elements(dst, src, sh)
	}
	return m.entries(dst, src, sh)
}

func (m *mirroring) step(name string, dst, src reflect.Value, sh *shape) error {
	m.path = append(m.path, name)
	err := m.copy(dst, src, sh)
	m.path = m.path[:len(m.path)-1]
	return err
}

// fields has the index of a field in the mirror from its place in the list.
func (m *mirroring) fields(dst, src reflect.Value, sh *shape) error {
	for i, f := range sh.fields {
		d, s := i, i
		if dst.Type() == sh.t {
			d = f.index
		} else {
			s = f.index
		}
		if err := m.step(f.name, dst.Field(d), src.Field(s), f.shape); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirroring) elements(dst, src reflect.Value, sh *shape) error {
	for i := range src.Len() {
		if err := m.step("[]", dst.Index(i), src.Index(i), sh.elem); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirroring) entries(dst, src reflect.Value, sh *shape) error {
	dst.Set(reflect.MakeMapWithSize(dst.Type(), src.Len()))
	for it := src.MapRange(); it.Next(); {
		elem := reflect.New(dst.Type().Elem()).Elem()
		if err := m.step("[]", elem, it.Value(), sh.elem); err != nil {
			return err
		}
		dst.SetMapIndex(it.Key(), elem)
	}
	return nil
}

// mirror returns a pointer to the mirror of v. connect gives Ends for the channels.
func mirror(v reflect.Value, sh *shape, connect func(path string, ch reflect.Value) (*Ends, error)) (reflect.Value, error) {
	m := mirroring{channel: func(path string, dst, src reflect.Value) error {
		ends, err := connect(path, src)
		if err == nil {
			dst.Set(reflect.ValueOf(ends))
		}
		return err
	}}
	p := reflect.New(sh.mirror)
	return p, m.copy(p.Elem(), v, sh)
}

// DecodeArgument is Decode for a value that Connect has made of a value of p's type. For the ends
// of a channel, attach returns the function's channel: it must be convertible to type t.
func (e Value) DecodeArgument(p any, attach func(path string, t reflect.Type, ends *Ends) reflect.Value) (err error) {
	v := reflect.ValueOf(p).Elem()
	sh := shapeOf(v.Type())
	if sh.bad != nil || !sh.holds.has(channel) {
		return e.Decode(p)
	}
	from := reflect.New(sh.mirror)
	if err := e.Decode(from.Interface()); err != nil {
		return err
	}
	m := mirroring{channel: func(path string, dst, src reflect.Value) error {
		ends := src.Interface().(*Ends)
		if ends.Values == nil || ends.Credit == nil {
			return &ValueError{Op: "decode", Type: dst.Type().String(), Root: sh.t.String(), Path: path, Why: "a channel without its ends"}
		}
		dst.Set(attach(path, dst.Type(), ends).Convert(dst.Type()))
		return nil
	}}
	return m.copy(v, from.Elem(), sh)
}
