package codec

import (
	"encoding"
	"math/big"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// These are functions: a type that package init refers to stays in every program, with all its
// methods.
func typeString() reflect.Type            { return reflect.TypeFor[string]() }
func typeTime() reflect.Type              { return reflect.TypeFor[time.Time]() }
func typeBigInt() reflect.Type            { return reflect.TypeFor[big.Int]() }
func typeFile() reflect.Type              { return reflect.TypeFor[os.File]() }
func typeMarshaler() reflect.Type         { return reflect.TypeFor[cbor.Marshaler]() }
func typeUnmarshaler() reflect.Type       { return reflect.TypeFor[cbor.Unmarshaler]() }
func typeBinaryMarshaler() reflect.Type   { return reflect.TypeFor[encoding.BinaryMarshaler]() }
func typeBinaryUnmarshaler() reflect.Type { return reflect.TypeFor[encoding.BinaryUnmarshaler]() }

// CheckType reports whether values of type t can cross, as far as a type tells: an error matching
// ErrValue names the first part that cannot. What cannot:
//
//   - functions, unsafe pointers, uintptr, complex numbers,
//   - interfaces with methods: what is in them could not be made again,
//   - files that are no *os.File, or keys of maps,
//   - structs of which nothing would cross because no field is exported,
//   - types that encode themselves (MarshalBinary, MarshalCBOR) but lack the way back.
func CheckType(t reflect.Type) error {
	if err := CheckArgument(t); err != nil {
		return err
	}
	if HasChannels(t) {
		return &ValueError{Op: "encode", Type: t.String(), Why: "channels cross in arguments only"}
	}
	if HasStreams(t) {
		return &ValueError{Op: "encode", Type: t.String(), Why: "readers and writers cross in arguments only; an *os.File crosses both ways"}
	}
	return nil
}

// CheckArgument is CheckType for arguments, which may hold streams and channels too: io.Reader,
// io.Writer, io.ReadCloser and io.WriteCloser; chan<- T and <-chan T, where T can cross and holds
// neither files nor any of these.
func CheckArgument(t reflect.Type) error {
	if t == nil {
		return &ValueError{Op: "encode", Type: "nil"}
	}
	if bad := shapeOf(t).bad; bad != nil {
		return bad
	}
	return nil
}

// HasStreams reports whether values of type t, which can cross, may hold readers or writers.
func HasStreams(t reflect.Type) bool { return t != nil && shapeOf(t).holds.has(stream) }

// IsLeaf reports whether values of type t are encoded as a whole, for example by their own methods.
func IsLeaf(t reflect.Type) bool { return shapeOf(t).kind == reflect.Invalid }

// HasFiles reports whether values of type t, which can cross, may hold files.
func HasFiles(t reflect.Type) bool { return t != nil && shapeOf(t).holds.has(file) }

// A shape is the knowledge of this package about a type. It may be part of a cycle.
type shape struct {
	t      reflect.Type
	kind   reflect.Kind // Invalid for a leaf: its values are encoded as a whole
	elem   *shape
	key    *shape
	fields []shapeField
	item   *shape       // of a channel: the shape of its items, which are no part of the value
	mirror reflect.Type // of a root that holds channels: the type that it crosses as

	is    traits // its own
	holds traits // its own, and those of all parts that its values may have
	cbor  bool   // a leaf that decodes any CBOR
	most  most
	bad   *ValueError // of a root: why values cannot cross
	cost
}

// traits are the properties of a value that the walks look for.
type traits uint8

const (
	file     traits = 1 << iota // a leaf: *os.File, or a stream
	stream                      // a leaf: io.Reader or the like, which is filled with a file
	channel                     // a leaf that has no encoding of its own: see mirrorOf
	surprise                    // only a value can tell about it: an interface, a time, a cycle
	anything                    // every shape has it
)

// has reports whether t has any of the traits in what.
func (t traits) has(what traits) bool { return t&what != 0 }

type shapeField struct {
	name     string
	index    int
	embedded bool
	shape    *shape
}

var shapes sync.Map // reflect.Type to *shape, as a root

func shapeOf(t reflect.Type) *shape {
	if sh, ok := shapes.Load(t); ok {
		return sh.(*shape)
	}
	b := shapeBuilder{made: map[reflect.Type]*shape{}}
	root, bad := b.build(t)
	if bad != nil {
		bad.Root = t.String()
		root.bad = bad
	} else if b.analyse(root); root.bad != nil {
		root.bad.Root = t.String()
	}
	sh, _ := shapes.LoadOrStore(t, root)
	return sh.(*shape)
}

type shapeBuilder struct {
	made map[reflect.Type]*shape
	all  []*shape
}

// build makes the shape of t and of all parts of its values.
func (b *shapeBuilder) build(t reflect.Type) (*shape, *ValueError) {
	if sh, ok := b.made[t]; ok {
		return sh, nil
	}
	sh := &shape{t: t, kind: t.Kind(), is: anything}
	b.made[t] = sh
	b.all = append(b.all, sh)
	leaf, bad := sh.leaf()
	if leaf {
		sh.kind = reflect.Invalid
		if sh.is.has(channel) && bad == nil {
			sh.item, bad = b.buildPart(t.Elem(), "[]")
		}
	} else if bad == nil {
		bad = b.buildParts(sh)
	}
	return sh, bad
}

// leaf reports whether values of sh are encoded as a whole, in their own way.
func (sh *shape) leaf() (bool, *ValueError) {
	t := sh.t
	switch {
	case t == typeFile():
		return false, sh.fault("a file crosses as *os.File only")
	case t.Kind() == reflect.Pointer && t.Elem() == typeFile():
		sh.is |= file
		return true, nil
	case isStream(t):
		sh.is |= file | stream
		return true, nil
	case t == typeTime(), t == typeBigInt():
		return true, nil
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return false, nil // methods count where the value is
	}
	itself, bad := sh.encodesItself()
	if !itself && bad == nil && t.Kind() == reflect.Chan {
		sh.is |= file | stream | channel
		return true, sh.channelFault()
	}
	return itself, bad
}

// encodesItself looks for methods that encode, and the way back.
func (sh *shape) encodesItself() (bool, *ValueError) {
	ptr := reflect.PointerTo(sh.t)
	for _, m := range [...]struct {
		to, from         reflect.Type
		toName, fromName string
	}{
		{typeMarshaler(), typeUnmarshaler(), "MarshalCBOR", "UnmarshalCBOR"},
		{typeBinaryMarshaler(), typeBinaryUnmarshaler(), "MarshalBinary", "UnmarshalBinary"},
	} {
		to, from := ptr.Implements(m.to), ptr.Implements(m.from)
		switch {
		case to && from:
			sh.cbor = m.to == typeMarshaler()
			return true, nil
		case to:
			return false, sh.fault("has " + m.toName + " but no " + m.fromName)
		case from:
			return false, sh.fault("has " + m.fromName + " but no " + m.toName)
		}
	}
	return false, nil
}

// buildParts makes the shapes of the parts of sh's values.
func (b *shapeBuilder) buildParts(sh *shape) (bad *ValueError) {
	switch sh.kind {
	case reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return sh.fault("")
	case reflect.Interface:
		if sh.t.NumMethod() > 0 {
			return sh.fault("an interface with methods cannot be filled on the other side")
		}
	case reflect.Pointer:
		sh.elem, bad = b.build(sh.t.Elem())
	case reflect.Slice, reflect.Array:
		sh.elem, bad = b.buildPart(sh.t.Elem(), "[]")
	case reflect.Map:
		if sh.key, bad = b.buildPart(sh.t.Key(), "[key]"); bad != nil {
			return bad
		}
		if sh.key.holdsFile() {
			return sh.key.fault("files cannot cross within keys").in("[key]")
		}
		sh.elem, bad = b.buildPart(sh.t.Elem(), "[]")
	case reflect.Struct:
		return b.buildFields(sh)
	}
	return bad
}

func (b *shapeBuilder) buildPart(t reflect.Type, step string) (*shape, *ValueError) {
	sh, bad := b.build(t)
	if bad != nil {
		bad.in(step)
	}
	return sh, bad
}

func (b *shapeBuilder) buildFields(sh *shape) *ValueError {
	for i := range sh.t.NumField() {
		f := sh.t.Field(i)
		name, skip := fieldName(f)
		if skip {
			continue
		}
		child, bad := b.build(f.Type)
		if bad == nil && child.is.has(file) && name == "" {
			bad = child.fault("an embedded file does not cross: give the field a name")
		}
		if bad != nil {
			return bad.in(f.Name)
		}
		sh.fields = append(sh.fields, shapeField{f.Name, i, name == "", child})
	}
	if len(sh.fields) == 0 && sh.t.NumField() > 0 && !allSkipped(sh.t) {
		return sh.fault("no exported field, nothing of it would arrive")
	}
	return nil
}

// fieldName gives a field's name in the encoding, "" if its own fields are put there instead. It
// says skip if the field does not cross.
func fieldName(f reflect.StructField) (name string, skip bool) {
	t := f.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !f.IsExported() && !(f.Anonymous && t.Kind() == reflect.Struct) {
		return "", true
	}
	tag := f.Tag.Get("cbor")
	if tag == "" {
		tag = f.Tag.Get("json")
	}
	if tag == "-" {
		return "", true
	}
	name, _, _ = strings.Cut(tag, ",")
	if name == "" && !(f.Anonymous && t.Kind() == reflect.Struct) {
		name = f.Name
	}
	return name, false
}

// allSkipped reports whether every exported field of a struct says "-": then the struct is empty on
// purpose.
func allSkipped(t reflect.Type) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.Name != "_" && !f.IsExported() {
			return false
		}
	}
	return true
}

// plain reports that no value of the type can surprise.
func (sh *shape) plain() bool {
	return sh.is == anything && sh.elem == nil && sh.key == nil && sh.fields == nil
}

func (sh *shape) children(yield func(*shape) bool) {
	for _, c := range [...]*shape{sh.key, sh.elem} {
		if c != nil && !yield(c) {
			return
		}
	}
	for _, f := range sh.fields {
		if !yield(f.shape) {
			return
		}
	}
}

// reach returns the shapes that values of sh may contain. It has sh itself only if sh may contain
// sh.
func (sh *shape) reach() map[*shape]bool {
	seen := map[*shape]bool{}
	var visit func(*shape)
	visit = func(s *shape) {
		for c := range s.children {
			if !seen[c] {
				seen[c] = true
				visit(c)
			}
		}
	}
	visit(sh)
	return seen
}

// holdsFile is for a shape that was not analysed yet.
func (sh *shape) holdsFile() bool {
	if sh.is.has(file) {
		return true
	}
	for c := range sh.reach() {
		if c.is.has(file) {
			return true
		}
	}
	return false
}

// analyse finds out the properties that depend on all parts of a type.
func (b *shapeBuilder) analyse(root *shape) {
	reach := map[*shape]map[*shape]bool{}
	for _, sh := range b.all {
		reach[sh] = sh.reach()
		if sh.kind == reflect.Interface || sh.t == typeTime() || reach[sh][sh] {
			sh.is |= surprise
		}
	}
	for _, sh := range b.all {
		sh.holds = sh.is
		for c := range reach[sh] {
			sh.holds |= c.is
		}
	}
	b.estimate(root)
	root.bad = b.checkChannels(root)
}
