package codec

import (
	"net/netip"
	"net/url"
	"reflect"
	"strings"
)

// The costs of the values of a type: mainly memory, and also time if bytes are cheap to send and
// expensive to decode. scan adds up the costs for its input.

// A cost is the part of a shape that scan goes by.
type cost struct {
	worst  int64             // of a root: memory that one byte of input may take
	own    int64             // memory behind an empty value
	byName map[string]*shape // of a struct: the fields that the decoder finds, also in embedded structs
	byInt  bool              // of a struct: the encoding has numbers for names
	flat   bool              // of a struct: it embeds no struct
	whole  leafCost          // of a leaf
}

// A leafCost is the cost of values that are decoded as a whole.
type leafCost struct {
	most int64 // bytes of one value
	each int64 // memory of one value, in addition to its bytes
	dear int64 // a value of more bytes than this also costs dearly; 0 is no such limit
}

const dearly = 2 << 10 // interning takes that long

// knownCost is the cost of a known type. Methods of other types decide themselves how much memory
// their bytes take.
func knownCost(t reflect.Type) (c leafCost, known bool) {
	switch t {
	case typeTime():
		return leafCost{most: mostTime, each: 24}, true
	case typeBigInt():
		return leafCost{most: maxBignum, each: 32}, true
	case reflect.TypeFor[netip.Addr]():
		return leafCost{most: 128, each: 24, dear: 16}, true // every zone is interned
	case reflect.TypeFor[netip.AddrPort]():
		return leafCost{most: 128, each: 32, dear: 16 + 2}, true
	case reflect.TypeFor[netip.Prefix]():
		return leafCost{most: 128, each: 32, dear: 16 + 1}, true
	case reflect.TypeFor[url.URL]():
		return leafCost{most: 64 << 10, each: 512}, true
	}
	return leafCost{most: MaxValue, each: 256}, false
}

// mostTime are the bytes of a time in RFC 3339, and some more.
const mostTime = 64

func leafCostOf(t reflect.Type) leafCost {
	c, _ := knownCost(t)
	return c
}

// estimate fills in the costs of all shapes.
func (b *shapeBuilder) estimate(root *shape) {
	for _, sh := range b.all {
		sh.own = sh.behind(0)
		worst := sh.share() + sh.own
		switch sh.kind {
		case reflect.Struct:
			sh.byName, sh.flat = map[string]*shape{}, true
			sh.collect(sh, 0)
		case reflect.Interface:
			worst += emptyMap + smallMap*(1+2*ifaceSize) + boxed
		case reflect.Invalid:
			sh.whole = leafCostOf(sh.t)
			worst += sh.whole.each + sh.whole.dear*dearly/16
		}
		root.worst = max(root.worst, worst)
	}
	// An element's share is counted for its container, and the memory behind the element for the
	// element.
	root.worst *= 2
}

// collect lists, for the struct to, the names that the decoder knows in sh. If the rules of
// embedding choose between two fields, the larger one stays: this is only for an estimate.
func (sh *shape) collect(to *shape, depth int) {
	for _, f := range sh.fields {
		field := sh.t.Field(f.index)
		name, _ := fieldName(field)
		if strings.Contains(field.Tag.Get("cbor"), ",keyasint") {
			to.byInt = true
		}
		if name != "" {
			if old := to.byName[name]; old == nil || old.t.Size() < f.shape.t.Size() {
				to.byName[name] = f.shape
			}
			continue
		}
		to.flat = false
		s := f.shape
		for s.kind == reflect.Pointer {
			s = s.elem
		}
		if depth < 16 { // a struct that embeds a pointer to itself
			s.collect(to, depth+1)
		}
	}
}

const (
	emptyMap  = 48  // runtime: header of a map
	smallMap  = 8   // slots of the smallest group, and its control word
	indirect  = 128 // larger keys and elements are kept behind a pointer
	ifaceSize = 16  // on 64 bits
	boxed     = 24  // the memory an interface points to: a slice or time; less for other types
	boxedBig  = 64  // a large number
	zoneSize  = 208 // a time.Location for an offset
	noLimit   = 1 << 40
)

// behind is the memory that every value of the type takes in addition to its own size.
func (sh *shape) behind(depth int) int64 {
	if depth > 16 { // a cycle
		return 0
	}
	if sh.is.has(file) {
		return int64(typeFile().Size())
	}
	switch sh.kind {
	case reflect.Pointer:
		return min(noLimit, int64(sh.elem.t.Size())+sh.elem.behind(depth+1))
	case reflect.Map:
		return emptyMap + smallMap*(1+slot(sh.key.t.Size())+slot(sh.elem.t.Size()))
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

// pairInAny is the share of a map in an interface.
const pairInAny = 2*(2*ifaceSize+1) + 2*ifaceSize

// share is the memory that a container takes for each element.
func (sh *shape) share() int64 {
	switch sh.kind {
	case reflect.Slice:
		return int64(sh.elem.t.Size())
	case reflect.Map: // half filled at worst; large ones have memory of their own
		k, e := sh.key.t.Size(), sh.elem.t.Size()
		return 2*(slot(k)+slot(e)+1) + int64(k) + int64(e)
	case reflect.Interface:
		return pairInAny
	}
	return 0
}
