package errtree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strconv"

	"github.com/gonso/gonso/internal/codec"
)

// Types of errors that a program registers without saying how they cross: by their exported fields.
// Fields whose type is an error type are children. Other fields are encoded as values. An error
// that Unwrap returns and no field has is a child, too: so errors.Is and errors.As find it.

// RegisterGoType makes errors of type t come back as values of type t, as far as exported fields
// go; nothing happens if t is registered already. The error tells why this is not possible.
func RegisterGoType(t reflect.Type) error {
	if t == nil || t.Kind() == reflect.Interface {
		return errors.New("an interface is no type of errors that can be made again: register those that are in it")
	}
	if _, ok := errnoOf(zeroOf(t)); ok {
		return nil
	}
	p, err := planOf(t)
	if err != nil {
		return err
	}
	settle()
	registry.Lock()
	defer registry.Unlock()
	if registry.byType[t] != nil {
		return nil
	}
	if registry.types[p.name] != nil {
		return fmt.Errorf("another type is registered as %s", p.name)
	}
	et := &errorType{name: p.name, goType: t.String(), encode: p.encode, decode: p.decode}
	registry.types[p.name], registry.byType[t] = et, et
	return nil
}

func zeroOf(t reflect.Type) error {
	err, _ := reflect.Zero(t).Interface().(error)
	return err
}

// A plan says how errors of one type cross.
type plan struct {
	name string
	t    reflect.Type // of the error
	v    reflect.Type // behind its pointer

	whole  bool         // v is not a struct, or encodes itself: there are no fields
	fields [][]int      // of v that cross as values
	errs   [][]int      // that are errors, or slices of errors
	values reflect.Type // has the fields, as V0, V1, ...; nil if v is a slice of errors
}

var typeError = reflect.TypeFor[error]()

// isError reports whether values of a field's type are errors.
func isError(t reflect.Type) bool { return t.Implements(typeError) }

func isErrors(t reflect.Type) bool { return t.Kind() == reflect.Slice && isError(t.Elem()) }

func planOf(t reflect.Type) (*plan, error) {
	p := &plan{name: nameOf(t), t: t, v: t}
	if t.Kind() == reflect.Pointer {
		p.v = t.Elem()
	}
	if p.v.Kind() != reflect.Struct || codec.IsLeaf(p.v) {
		p.whole = true
		if isErrors(p.v) {
			return p, nil
		}
		p.values = p.v
		return p, canCross(p.v)
	}
	var values []reflect.StructField
	if err := p.addFields(p.v, nil, &values); err != nil {
		return nil, err
	}
	if len(p.fields)+len(p.errs) == 0 && p.v.NumField() > 0 {
		return nil, errors.New("it has no exported field, so nothing of it would arrive: export them, or give it MarshalBinary and UnmarshalBinary")
	}
	p.values = reflect.StructOf(values)
	return p, nil
}

func canCross(t reflect.Type) error {
	err := codec.CheckType(t)
	if err == nil && codec.HasFiles(t) {
		err = errors.New("files do not cross in errors")
	}
	return err
}

// addFields adds the fields of the struct at index, and those of its embedded structs.
func (p *plan) addFields(t reflect.Type, index []int, values *[]reflect.StructField) error {
	for i := range t.NumField() {
		f, at := t.Field(i), append(slices.Clip(index), i)
		embeds := f.Anonymous && f.Type.Kind() == reflect.Struct && !isError(f.Type) && !codec.IsLeaf(f.Type)
		switch {
		case f.Tag.Get("json") == "-" || f.Tag.Get("cbor") == "-":
		case embeds:
			if err := p.addFields(f.Type, at, values); err != nil {
				return err
			}
		case !f.IsExported():
		case isError(f.Type), isErrors(f.Type):
			p.errs = append(p.errs, at)
		default:
			if err := canCross(f.Type); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
			*values = append(*values, reflect.StructField{Name: "V" + strconv.Itoa(len(p.fields)), Type: f.Type})
			p.fields = append(p.fields, at)
		}
	}
	return nil
}

// nameOf names a type. The name is the same in every process of a program.
func nameOf(t reflect.Type) string {
	name, v := "go ", t
	if v.Kind() == reflect.Pointer {
		name, v = "go *", v.Elem()
	}
	if name += v.PkgPath() + "." + v.Name(); len(name) <= maxErrorName {
		return name
	}
	h := fnv.New128a()
	h.Write([]byte(name))
	return fmt.Sprintf("go %x %s", h.Sum(nil), name[len(name)-64:])
}

// encode returns the fields, after the lengths of slices of errors. It returns as children the
// errors in fields, the errors in slices, and then the other errors that err wraps.
func (p *plan) encode(err error) (fields []byte, wrapped []error, _ error) {
	v := reflect.ValueOf(err)
	if p.t != p.v {
		if v.IsNil() {
			return nil, nil, errors.New("a nil pointer")
		}
		v = v.Elem()
	}
	if p.values == nil {
		fields, wrapped = appendSlice(fields, wrapped, v)
	}
	for _, at := range p.errs {
		if f := v.FieldByIndex(at); isError(f.Type()) {
			wrapped = append(wrapped, errorIn(f))
		} else {
			fields, wrapped = appendSlice(fields, wrapped, f)
		}
	}
	_, all := unwrap(err)
	wrapped = append(wrapped, missing(all, wrapped)...)
	if p.values == nil {
		return fields, wrapped, nil
	}
	values := reflect.New(p.values)
	if p.whole {
		values.Elem().Set(v)
	}
	for to, from := range p.fields {
		values.Elem().Field(to).Set(v.FieldByIndex(from))
	}
	b, bad := codec.Marshal(values.Interface())
	return append(fields, b...), wrapped, bad
}

// appendSlice appends the errors in a slice, and how many there are.
func appendSlice(fields []byte, wrapped []error, v reflect.Value) ([]byte, []error) {
	if v.IsNil() {
		return binary.AppendUvarint(fields, 0), wrapped
	}
	for i := range v.Len() {
		wrapped = append(wrapped, errorIn(v.Index(i)))
	}
	return binary.AppendUvarint(fields, uint64(v.Len())+1), wrapped
}

// errorIn returns the error in v. For a nil pointer, too, it returns nil.
func errorIn(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		if v.IsNil() {
			return nil
		}
	}
	return v.Interface().(error)
}

// missing returns the errors of errs that are not in known.
func missing(errs, known []error) (more []error) {
	for _, err := range errs {
		if err != nil && !slices.ContainsFunc(known, func(k error) bool { return same(k, err) }) {
			more = append(more, err)
		}
	}
	return more
}

// same reports whether a and b are the same error. Errors that cannot be compared count as the same
// if they have the same type.
func same(a, b error) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && (!reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() || a == b)
}

// decode puts an error together again. Errors that fit no field stay beside it.
func (p *plan) decode(fields []byte, wrapped []error, room *int64) (error, error) {
	v := reflect.New(p.v)
	d := errorFiller{fields: fields, wrapped: wrapped}
	if p.values == nil {
		d.slice(v.Elem())
	}
	for _, at := range p.errs {
		if f := v.Elem().FieldByIndex(at); isError(f.Type()) {
			d.one(f)
		} else {
			d.slice(f)
		}
	}
	if d.bad != nil {
		return nil, d.bad
	}
	if p.values != nil {
		values := reflect.New(p.values)
		left, err := codec.UnmarshalWithin(d.fields, values.Interface(), *room)
		if *room = left; err != nil && left <= 0 {
			return nil, errRoom
		}
		if err != nil {
			return nil, err
		}
		if p.whole {
			v.Elem().Set(values.Elem())
		}
		for from, to := range p.fields {
			v.Elem().FieldByIndex(to).Set(values.Elem().Field(from))
		}
	} else if len(d.fields) > 0 {
		return nil, errors.New("bytes behind its fields")
	}
	if p.t == p.v {
		v = v.Elem()
	}
	err := v.Interface().(error)
	if err := tryOut(err); err != nil {
		return nil, err
	}
	_, own := unwrap(err)
	if beside := missing(append(d.beside, d.wrapped...), own); len(beside) > 0 {
		return &accompanied{texted{err.Error(), err}, beside}, nil
	}
	return err, nil
}

// tryOut calls the methods that the receiver of the error will call: they may need fields that did
// not cross. Error is the last. The code that compares the text calls it again.
func tryOut(err error) (bad error) {
	defer func() {
		if r := recover(); r != nil {
			bad = errors.New("panic: " + codec.Sprint(r))
		}
	}()
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		_ = e.Unwrap()
	case interface{ Unwrap() []error }:
		_ = e.Unwrap()
	}
	if e, ok := err.(interface{ Is(error) bool }); ok {
		_ = e.Is(errors.ErrUnsupported)
	}
	if e, ok := err.(interface{ As(any) bool }); ok {
		_ = e.As(new(*opaque))
	}
	if e, ok := err.(timeouter); ok {
		_ = e.Timeout()
	}
	if e, ok := err.(temporarier); ok {
		_ = e.Temporary()
	}
	_ = err.Error()
	return nil
}

// An errorFiller puts errors into the fields that they were in.
type errorFiller struct {
	fields  []byte
	wrapped []error
	beside  []error // errors whose type does not fit their field any more
	bad     error
}

func (d *errorFiller) slice(v reflect.Value) {
	n, used := binary.Uvarint(d.fields)
	if used <= 0 || n > uint64(len(d.wrapped))+1 {
		d.bad = fmt.Errorf("%d errors where there are %d", n, len(d.wrapped))
		return
	}
	if d.fields = d.fields[used:]; n == 0 {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), int(n-1), int(n-1)))
	for i := range v.Len() {
		d.one(v.Index(i))
	}
}

func (d *errorFiller) one(v reflect.Value) {
	if len(d.wrapped) == 0 {
		d.bad = errors.New("an error that it wraps is missing")
		return
	}
	err := d.wrapped[0]
	if d.wrapped = d.wrapped[1:]; err == nil {
		return
	}
	for e := err; e != nil; e = originalOf(e) { // the same error, with another text
		if reflect.TypeOf(e).AssignableTo(v.Type()) {
			v.Set(reflect.ValueOf(e))
			return
		}
	}
	d.beside = append(d.beside, err)
}

// accompanied is a rebuilt error, and the errors that it wrapped outside of its exported fields.
type accompanied struct {
	texted
	beside []error
}

func (e *accompanied) Unwrap() []error { return append([]error{e.err}, e.beside...) }
