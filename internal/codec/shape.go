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

var (
	typeTime              = reflect.TypeFor[time.Time]()
	typeBigInt            = reflect.TypeFor[big.Int]()
	typeFile              = reflect.TypeFor[os.File]()
	typeMarshaler         = reflect.TypeFor[cbor.Marshaler]()
	typeUnmarshaler       = reflect.TypeFor[cbor.Unmarshaler]()
	typeBinaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	typeBinaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// CheckType reports whether values of type t can cross, as far as a type tells: an error matching ErrValue names the first
// part that cannot. These are channels, functions, unsafe pointers, uintptr, complex numbers, interfaces with methods (what
// is in them could not be made again), files that are no *os.File or keys of maps, structs of which nothing would cross because no field is exported, and types
// that encode themselves (MarshalBinary, MarshalCBOR) but lack the way back.
func CheckType(t reflect.Type) error {
	if err := CheckArgument(t); err != nil {
		return err
	}
	if shapeOf(t).streams {
		return &ValueError{Op: "encode", Type: t.String(), Why: "readers and writers cross in arguments only; an *os.File crosses both ways"}
	}
	return nil
}

// A shape is what this package knows of a type. It may be part of a cycle.
type shape struct {
	t      reflect.Type
	kind   reflect.Kind // Invalid for a leaf: a type that encodes itself
	elem   *shape
	key    *shape
	fields []shapeField
	byName map[string]*shape // of a struct: what the decoder finds, embedded structs' included

	file    bool        // a leaf: *os.File, or a stream
	stream  bool        // a leaf: an io.Reader or the like, which is filled with a file
	files   bool        // may hold files
	streams bool        // may hold streams
	walk    bool        // has parts that only a value can tell about: interfaces, times, cycles
	bad     *ValueError // of a root: why values cannot cross
	worst   int64       // of a root: memory that one byte of input may take
	own     int64       // memory behind an empty value
}

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
	} else {
		b.analyse(root)
	}
	sh, _ := shapes.LoadOrStore(t, root)
	return sh.(*shape)
}

type shapeBuilder struct {
	made map[reflect.Type]*shape
	all  []*shape
}

func (b *shapeBuilder) build(t reflect.Type) (sh *shape, bad *ValueError) {
	if sh, ok := b.made[t]; ok {
		return sh, nil
	}
	sh = &shape{t: t, kind: t.Kind()}
	b.made[t] = sh
	b.all = append(b.all, sh)

	switch {
	case t == typeFile:
		return sh, sh.fault("a file crosses as *os.File only")
	case sh.kind == reflect.Pointer && t.Elem() == typeFile, isStream(t):
		sh.kind, sh.file, sh.stream = reflect.Invalid, true, isStream(t)
		return sh, nil
	}
	switch t {
	case typeTime, typeBigInt:
		sh.kind = reflect.Invalid
		return sh, nil
	}
	if sh.kind != reflect.Pointer && sh.kind != reflect.Interface {
		ptr := reflect.PointerTo(t)
		for _, m := range [...]struct {
			to, from reflect.Type
			names    [2]string
		}{
			{typeMarshaler, typeUnmarshaler, [2]string{"MarshalCBOR", "UnmarshalCBOR"}},
			{typeBinaryMarshaler, typeBinaryUnmarshaler, [2]string{"MarshalBinary", "UnmarshalBinary"}},
		} {
			to, from := ptr.Implements(m.to), ptr.Implements(m.from)
			switch {
			case to && from:
				sh.kind = reflect.Invalid
				return sh, nil
			case to:
				return sh, sh.fault("has " + m.names[0] + " but no " + m.names[1])
			case from:
				return sh, sh.fault("has " + m.names[1] + " but no " + m.names[0])
			}
		}
	}

	switch sh.kind {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return sh, sh.fault("")
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return sh, sh.fault("an interface with methods cannot be filled on the other side")
		}
	case reflect.Pointer:
		sh.elem, bad = b.build(t.Elem())
	case reflect.Slice, reflect.Array:
		if sh.elem, bad = b.build(t.Elem()); bad != nil {
			bad.in("[]")
		}
	case reflect.Map:
		if sh.key, bad = b.build(t.Key()); bad != nil {
			bad.in("[key]")
		} else if sh.key.holdsFile() {
			bad = sh.key.fault("files cannot cross within keys").in("[key]")
		} else if sh.elem, bad = b.build(t.Elem()); bad != nil {
			bad.in("[]")
		}
	case reflect.Struct:
		bad = b.buildStruct(sh)
	}
	return sh, bad
}

func (b *shapeBuilder) buildStruct(sh *shape) *ValueError {
	for i := range sh.t.NumField() {
		f := sh.t.Field(i)
		name, skip := fieldName(f)
		if skip {
			continue
		}
		child, bad := b.build(f.Type)
		if bad == nil && child.file && name == "" {
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

// fieldName gives a field's name in the encoding, "" if its own fields are put in its place, and skip if it does not
// cross.
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

// allSkipped: a struct whose every exported field says "-" was meant that way.
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
	return !sh.file && sh.elem == nil && sh.key == nil && sh.fields == nil && sh.kind != reflect.Interface && sh.t != typeTime
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

// reach gives what values of sh may contain; sh itself only if within itself.
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
	if sh.file {
		return true
	}
	for c := range sh.reach() {
		if c.file {
			return true
		}
	}
	return false
}

func (b *shapeBuilder) analyse(root *shape) {
	surprising := map[*shape]bool{}
	reach := map[*shape]map[*shape]bool{}
	for _, sh := range b.all {
		reach[sh] = sh.reach()
		surprising[sh] = sh.kind == reflect.Interface || sh.t == typeTime || reach[sh][sh]
		sh.own = sh.behind(0)
		if sh.kind == reflect.Struct {
			sh.byName = map[string]*shape{}
			sh.collect(sh.byName, 0)
		}
	}
	for _, sh := range b.all {
		sh.walk, sh.files, sh.streams = surprising[sh], sh.file, sh.stream
		for c := range reach[sh] {
			sh.walk, sh.files, sh.streams = sh.walk || surprising[c], sh.files || c.file, sh.streams || c.stream
		}
		root.worst = max(root.worst, sh.share()+sh.own)
	}
	// An element's share is its container's, what lies behind it is its own.
	root.worst *= 2
}

// collect lists the names that the decoder knows in a struct. Where the rules of embedding choose between two, the larger
// stays: this only serves an estimate.
func (sh *shape) collect(names map[string]*shape, depth int) {
	for _, f := range sh.fields {
		name, _ := fieldName(sh.t.Field(f.index))
		if name != "" {
			if old := names[name]; old == nil || old.t.Size() < f.shape.t.Size() {
				names[name] = f.shape
			}
			continue
		}
		s := f.shape
		for s.kind == reflect.Pointer {
			s = s.elem
		}
		if depth < 16 { // a struct that embeds a pointer to itself
			s.collect(names, depth+1)
		}
	}
}

const (
	emptyMap   = 48  // runtime: header of a map
	smallMap   = 8   // slots of the smallest group, and its control word
	indirect   = 128 // larger keys and elements are kept behind a pointer
	ifaceSize  = 16  // on 64 bits
	boxedValue = 24  // what an interface points to: a string, slice or time
	noLimit    = 1 << 40
)

// behind is the memory that a value of the type may take in addition to its own size for one byte of input.
func (sh *shape) behind(depth int) int64 {
	if depth > 16 { // a cycle
		return 0
	}
	if sh.file {
		return int64(typeFile.Size())
	}
	switch sh.kind {
	case reflect.Pointer:
		return min(noLimit, int64(sh.elem.t.Size())+sh.elem.behind(depth+1))
	case reflect.Map:
		return emptyMap + smallMap*(1+slot(sh.key.t.Size())+slot(sh.elem.t.Size()))
	case reflect.Interface:
		return emptyMap + smallMap*(1+2*ifaceSize) + boxedValue
	case reflect.Struct: // pointers to embedded structs are filled with the first of their fields
		var n int64
		for _, f := range sh.fields {
			if f.embedded {
				n = min(noLimit, n+f.shape.behind(depth+1))
			}
		}
		return n
	}
	return 0
}

func slot(size uintptr) int64 { return int64(min(size, indirect)) }

// share is the memory that a container takes for each element.
func (sh *shape) share() int64 {
	switch sh.kind {
	case reflect.Slice:
		return int64(sh.elem.t.Size())
	case reflect.Map: // half filled at worst; large ones have memory of their own
		k, e := sh.key.t.Size(), sh.elem.t.Size()
		return 2*(slot(k)+slot(e)+1) + int64(k) + int64(e)
	case reflect.Interface:
		return 2*(2*ifaceSize+1) + 2*ifaceSize
	}
	return 0
}
