package codec

import (
	"reflect"
	"sync"
)

// most is how large the encoding of a shape can be. It is computed when somebody first asks.
type most struct {
	once  sync.Once
	bytes int64
}

// MaxSize gives the most bytes that the encoding of a value of type t can have. It is MaxValue if
// the type does not tell.
func MaxSize(t reflect.Type) int {
	if t == nil {
		return MaxValue
	}
	return int(shapeOf(t).maxSize())
}

func (sh *shape) maxSize() int64 {
	sh.most.once.Do(func() { sh.most.bytes = min(sh.mostBytes(), MaxValue) })
	return sh.most.bytes
}

const mostHead = 9 // bytes of an item's head, or of a number, or of a tag

// mostBytes returns MaxValue or more if there is no bound.
func (sh *shape) mostBytes() (n int64) {
	switch {
	case sh.is.has(file):
		return 2 * mostHead
	case sh.t == typeTime():
		return 2*mostHead + mostTime
	case sh.is.has(surprise): // an interface, or a cycle
		return MaxValue
	}
	switch sh.kind {
	case reflect.Invalid:
		if c, known := knownCost(sh.t); known {
			return 2*mostHead + max(c.most, smallInput)
		}
		return MaxValue
	case reflect.Slice, reflect.Map, reflect.String:
		return MaxValue
	case reflect.Pointer:
		return sh.elem.maxSize()
	case reflect.Array:
		return mostHead + min(sh.elem.maxSize()*int64(min(sh.t.Len(), MaxValue)), MaxValue)
	case reflect.Struct:
		n = mostHead
		for _, f := range sh.fields {
			name, _ := fieldName(sh.t.Field(f.index))
			n = min(n+mostHead+int64(len(name))+f.shape.maxSize(), MaxValue)
		}
		return n
	}
	return mostHead
}
