package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/gonso/gonso/internal/sys"
)

// Files in values. The encoding of a value says where its files are, by a tagged empty map; the descriptors travel beside it, in the order in which walkFiles comes to these places. So a value cannot name a descriptor
// that was not sent along, or one twice.

// tagFile is the CBOR tag of a file. With it the codec makes one where a reader or writer is asked for, too.
const tagFile = 0x66696c65 // "file"

var fileTags = func() cbor.TagSet {
	tags := cbor.NewTagSet()
	if err := tags.Add(cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}, typeFile, tagFile); err != nil {
		panic(err)
	}
	return tags
}()

// streamTypes are the interfaces that a file can be put in, and whether it is written to.
var streamTypes = map[reflect.Type]bool{
	reflect.TypeFor[io.Reader]():      false,
	reflect.TypeFor[io.ReadCloser]():  false,
	reflect.TypeFor[io.Writer]():      true,
	reflect.TypeFor[io.WriteCloser](): true,
}

func isStream(t reflect.Type) bool {
	_, is := streamTypes[t]
	return is
}

// CheckArgument is CheckType for arguments, in which readers and writers may be: the interfaces io.Reader, io.Writer,
// io.ReadCloser and io.WriteCloser.
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
func HasStreams(t reflect.Type) bool { return t != nil && shapeOf(t).streams }

// HasFiles reports whether values of type t, which can cross, may hold files.
func HasFiles(t reflect.Type) bool { return t != nil && shapeOf(t).files }

// A Value is an encoded value and the files in it, which belong to it.
type Value struct {
	Bytes []byte
	Files []*os.File
}

// Close closes the files. What was decoded of them is closed too, and closing twice is harmless.
func (v Value) Close() { sys.CloseFiles(v.Files) }

// Encode is Marshal for values that may hold files, *os.File, anywhere but within interfaces and keys of maps. The Value
// has duplicates of them; v keeps its own. A file that comes twice is sent twice. Closed files, and more than MaxFiles, are
// errors.
func Encode(v any) (e Value, err error) {
	if v == nil || !HasFiles(reflect.TypeOf(v)) {
		b, err := Marshal(v)
		return Value{Bytes: b}, err
	}
	defer func() {
		if err != nil {
			e.Close()
			e = Value{}
		}
	}()
	defer catch(nil, &err, "encode", v)
	if e.Bytes, err = marshal(v); err != nil {
		return e, err
	}
	w := fileWalk{visit: func(at reflect.Value, sh *shape) *ValueError {
		if len(e.Files) == MaxFiles {
			return sh.fault(fmt.Sprintf("more than %d files", MaxFiles))
		}
		f, ok := fileAt(at)
		if !ok {
			return sh.fault("a reader or writer that is not a file, and was not connected to one")
		}
		dup, err := sys.DupFile(f)
		if err != nil {
			bad := sh.fault(err.Error())
			bad.Closed = errors.Is(err, os.ErrClosed)
			return bad
		}
		e.Files = append(e.Files, dup)
		return nil
	}}
	if bad := w.walk(reflect.ValueOf(v), shapeOf(reflect.TypeOf(v))); bad != nil {
		bad.Root = reflect.TypeOf(v).String()
		return e, bad
	}
	return e, nil
}

// Decode is Unmarshal for what Encode has made. It takes the files over: they are in v afterwards, or closed if it fails.
// Neither the bytes nor the number of files are trusted.
func (e Value) Decode(v any) (err error) {
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || !HasFiles(t.Elem()) {
		e.Close()
		return Unmarshal(e.Bytes, v)
	}
	defer catch(nil, &err, "decode", v)
	if err := unmarshal(e.Bytes, v); err != nil {
		return err
	}
	left := e.Files
	w := fileWalk{set: true, visit: func(at reflect.Value, sh *shape) *ValueError {
		if len(left) == 0 {
			bad := sh.fault(fmt.Sprintf("the value has places for more than the %d files that came with it", len(e.Files)))
			bad.Op = "decode"
			return bad
		}
		if at.Kind() == reflect.Interface {
			at.Set(reflect.ValueOf(left[0]))
		} else {
			at.Set(reflect.ValueOf(left[0]).Convert(at.Type()))
		}
		left = left[1:]
		return nil
	}}
	bad := w.walk(reflect.ValueOf(v).Elem(), shapeOf(t.Elem()))
	if bad == nil && len(left) > 0 {
		bad = &ValueError{Op: "decode", Type: t.Elem().String(), Why: fmt.Sprintf("%d files came with it, and it has places for %d", len(e.Files), len(e.Files)-len(left))}
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
	w := fileWalk{visit: func(at reflect.Value, _ *shape) *ValueError {
		if f, ok := fileAt(at); ok {
			files = append(files, f)
		}
		return nil
	}}
	_ = w.walk(reflect.ValueOf(v), shapeOf(reflect.TypeOf(v))) // visit never fails
	return files
}

// fileAt gives the file in a place that is not nil; ok is false for a reader or writer that is none.
func fileAt(at reflect.Value) (f *os.File, ok bool) {
	if at.Kind() == reflect.Pointer {
		return at.Convert(reflect.TypeFor[*os.File]()).Interface().(*os.File), true
	}
	f, ok = at.Interface().(*os.File)
	return f, ok
}

// Connect replaces every reader and writer in the value that p points to, if it is not nil and not a file, by what connect
// makes of it. What the value shares with others is copied first, as far as there are any in it.
func Connect(p any, connect func(path string, stream any, writer bool) (*os.File, error)) (err error) {
	v := reflect.ValueOf(p).Elem()
	sh := shapeOf(v.Type())
	defer catch(nil, &err, "encode", p)
	if sh.walk {
		if bad := (&walker{}).walk(v, sh, false, 0, 0); bad != nil {
			bad.Root = sh.t.String()
			return bad
		}
	}
	separate(v, sh)
	w := fileWalk{set: true}
	w.visit = func(at reflect.Value, sh *shape) *ValueError {
		if f, ok := fileAt(at); ok {
			if f == nil && at.Kind() == reflect.Interface {
				at.SetZero() // an interface that holds a nil file
			}
			return nil
		}
		f, cerr := connect(strings.TrimPrefix(strings.Join(w.path, ""), "."), at.Interface(), streamTypes[sh.t])
		if cerr != nil {
			err = cerr
			return sh.fault(cerr.Error())
		}
		at.Set(reflect.ValueOf(f))
		return nil
	}
	if bad := w.walk(v, sh); bad != nil && err == nil {
		bad.Root = sh.t.String()
		err = bad
	}
	return err
}

// separate replaces what v shares with other values by copies, where streams are in it. A walker has seen that v is no
// cycle.
func separate(v reflect.Value, sh *shape) {
	if !sh.streams || sh.file {
		return
	}
	switch sh.kind {
	case reflect.Pointer:
		if !v.IsNil() {
			c := reflect.New(sh.elem.t)
			c.Elem().Set(v.Elem())
			separate(c.Elem(), sh.elem)
			v.Set(c.Convert(v.Type()))
		}
	case reflect.Struct:
		for _, f := range sh.fields {
			separate(v.Field(f.index), f.shape)
		}
	case reflect.Slice, reflect.Array:
		if sh.kind == reflect.Slice {
			if v.IsNil() {
				return
			}
			c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(c, v)
			v.Set(c)
		}
		for i := range v.Len() {
			separate(v.Index(i), sh.elem)
		}
	case reflect.Map:
		if v.IsNil() {
			return
		}
		c := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			e := reflect.New(sh.elem.t).Elem()
			e.Set(it.Value())
			separate(e, sh.elem)
			c.SetMapIndex(it.Key(), e)
		}
		v.Set(c)
	}
}

// fileWalk visits the places of a value that hold a file, always in the same order.
type fileWalk struct {
	set   bool // visit changes the places
	visit func(at reflect.Value, sh *shape) *ValueError
	path  []string // to where it is
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
	if len(w.path) > 2*decodeDepth { // pointers count as well here
		return sh.fault("nested too deep")
	}
	at := len(w.path)
	defer func() { w.path = w.path[:at] }()
	switch sh.kind {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		w.path = append(w.path, "")
		return w.walk(v.Elem(), sh.elem)
	case reflect.Struct:
		for _, f := range sh.fields {
			w.path = append(w.path[:at], "."+f.name)
			if bad := w.walk(v.Field(f.index), f.shape); bad != nil {
				return bad.in(f.name)
			}
		}
	case reflect.Slice, reflect.Array:
		w.path = append(w.path, "[]")
		for i := range v.Len() {
			if bad := w.walk(v.Index(i), sh.elem); bad != nil {
				return bad.in("[]")
			}
		}
	case reflect.Map:
		w.path = append(w.path, "[]")
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
