package wire

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
)

// Files in values. The encoding of a value says where its files are, as an empty map where an *os.File is not nil; the
// descriptors travel beside it, in the order in which walkFiles comes to these places. So a value cannot name a descriptor
// that was not sent along, or one twice.

// HasFiles reports whether values of type t, which can cross, may hold files.
func HasFiles(t reflect.Type) bool { return t != nil && shapeOf(t).files }

// MarshalFiles is Marshal for values that may hold files, *os.File, anywhere but within interfaces and keys of maps. It
// returns duplicates of them, which belong to the caller; v keeps its own. A file that comes twice is sent twice. Closed
// files, and more than MaxFiles, are errors.
func MarshalFiles(v any) (b []byte, files []*os.File, err error) {
	if v == nil || !HasFiles(reflect.TypeOf(v)) {
		b, err = Marshal(v)
		return b, nil, err
	}
	defer func() {
		if err != nil {
			CloseFiles(files)
			b, files = nil, nil
		}
	}()
	defer catch(&b, &err, "encode", v)
	if b, err = marshal(v); err != nil {
		return nil, nil, err
	}
	w := fileWalk{visit: func(place reflect.Value, sh *shape) *ValueError {
		if len(files) == MaxFiles {
			return sh.fault(fmt.Sprintf("more than %d files", MaxFiles))
		}
		dup, err := DupFile(fileAt(place))
		if err != nil {
			return sh.fault(err.Error())
		}
		files = append(files, dup)
		return nil
	}}
	if bad := w.walk(reflect.ValueOf(v), shapeOf(reflect.TypeOf(v))); bad != nil {
		bad.Root = reflect.TypeOf(v).String()
		return nil, files, bad
	}
	return b, files, nil
}

// UnmarshalFiles is Unmarshal for what MarshalFiles has made. It takes the files over: they are in v afterwards, or closed
// if it fails. Neither b nor the number of files is trusted.
func UnmarshalFiles(b []byte, files []*os.File, v any) (err error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || !HasFiles(t.Elem()) {
		CloseFiles(files)
		return Unmarshal(b, v)
	}
	defer func() {
		if err != nil {
			CloseFiles(files)
		}
	}()
	defer catch(nil, &err, "decode", v)
	if err := unmarshal(b, v); err != nil {
		return err
	}
	left := files
	w := fileWalk{set: true, visit: func(place reflect.Value, sh *shape) *ValueError {
		if len(left) == 0 {
			bad := sh.fault(fmt.Sprintf("the value has places for more than the %d files that came with it", len(files)))
			bad.Op = "decode"
			return bad
		}
		place.Set(reflect.ValueOf(left[0]).Convert(place.Type()))
		left = left[1:]
		return nil
	}}
	bad := w.walk(reflect.ValueOf(v).Elem(), shapeOf(t.Elem()))
	if bad == nil && len(left) > 0 {
		bad = &ValueError{Op: "decode", Type: t.Elem().String(), Why: fmt.Sprintf("%d files came with it, and it has places for %d", len(files), len(files)-len(left))}
	}
	if bad != nil {
		bad.Root = t.Elem().String()
		return bad
	}
	return nil
}

// FilesIn lists the files that v, whose type can cross, holds.
func FilesIn(v any) (files []*os.File) {
	if v == nil || !HasFiles(reflect.TypeOf(v)) {
		return nil
	}
	w := fileWalk{visit: func(place reflect.Value, _ *shape) *ValueError {
		files = append(files, fileAt(place))
		return nil
	}}
	_ = w.walk(reflect.ValueOf(v), shapeOf(reflect.TypeOf(v))) // visit never fails
	return files
}

// CloseFiles closes files.
func CloseFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func fileAt(place reflect.Value) *os.File {
	return place.Convert(reflect.TypeFor[*os.File]()).Interface().(*os.File)
}

// fileWalk visits the places of a value that hold a file, always in the same order.
type fileWalk struct {
	set   bool // visit changes the places
	visit func(place reflect.Value, sh *shape) *ValueError
	depth int
}

func (w *fileWalk) walk(v reflect.Value, sh *shape) *ValueError {
	if !sh.files {
		return nil
	}
	if sh.file {
		if v.IsNil() {
			return nil
		}
		return w.visit(v, sh)
	}
	if w.depth++; w.depth > 2*decodeDepth { // pointers count as well here
		return sh.fault("nested too deep")
	}
	defer func() { w.depth-- }()
	switch sh.kind {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return w.walk(v.Elem(), sh.elem)
	case reflect.Struct:
		for _, f := range sh.fields {
			if bad := w.walk(v.Field(f.index), f.shape); bad != nil {
				return bad.in(f.name)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if bad := w.walk(v.Index(i), sh.elem); bad != nil {
				return bad.in("[]")
			}
		}
	case reflect.Map:
		return w.walkMap(v, sh)
	}
	return nil
}

// walkMap goes by the order of the encoded keys.
func (w *fileWalk) walkMap(v reflect.Value, sh *shape) *ValueError {
	type entry struct {
		encoded []byte
		key     reflect.Value
	}
	var entries []entry
	for it := v.MapRange(); it.Next(); {
		encoded, err := encMode.Marshal(it.Key().Interface())
		if err != nil {
			return sh.fault(err.Error())
		}
		entries = append(entries, entry{encoded, it.Key()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.encoded, b.encoded) })
	for _, e := range entries {
		elem := v.MapIndex(e.key)
		if w.set { // what is in a map cannot be changed there
			elem = reflect.New(sh.elem.t).Elem()
			elem.Set(v.MapIndex(e.key))
		}
		if bad := w.walk(elem, sh.elem); bad != nil {
			return bad.in("[]")
		}
		if w.set {
			v.SetMapIndex(e.key, elem)
		}
	}
	return nil
}
