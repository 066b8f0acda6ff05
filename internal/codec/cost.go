package codec

import "reflect"

// What values of a type may cost in memory. scan adds it up for the bytes at hand.

// A cost is the part of a shape that scan goes by.
type cost struct {
	worst  int64             // of a root: memory that one byte of input may take
	own    int64             // memory behind an empty value
	byName map[string]*shape // of a struct: what the decoder finds, embedded structs' included
}

// estimate fills in the costs of all shapes.
func (b *shapeBuilder) estimate(root *shape) {
	for _, sh := range b.all {
		sh.own = sh.behind(0)
		if sh.kind == reflect.Struct {
			sh.byName = map[string]*shape{}
			sh.collect(sh.byName, 0)
		}
		root.worst = max(root.worst, sh.share()+sh.own)
	}
	// An element's share is its container's, what lies behind it is its own.
	root.worst *= 2
}

// collect lists the names that the decoder knows in a struct. Where the rules of embedding choose
// between two, the larger stays: this only serves an estimate.
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

// behind is the memory that a value of the type may take in addition to its own size, for one byte
// of input.
func (sh *shape) behind(depth int) int64 {
	if depth > 16 { // a cycle
		return 0
	}
	if sh.is.has(file) {
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
