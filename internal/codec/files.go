package codec

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/gonso/gonso/internal/sys"
)

// Files in values. The encoding of a value says where its files are, by a tagged empty map. The
// descriptors travel beside the encoding, in the order in which fileWalk visits them. So a value
// cannot name a descriptor that was not sent along, and cannot name a descriptor twice.

// tagFile is the CBOR tag of a file. With this tag the codec makes a file for a stream, too.
const tagFile = 0x66696c65 // "file"

func fileTags() cbor.TagSet {
	tags := cbor.NewTagSet()
	opts := cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}
	if err := tags.Add(opts, typeFile(), tagFile); err != nil {
		panic(err)
	}
	return tags
}

// A Value is an encoded value and the files in it, which belong to it.
type Value struct {
	Bytes []byte
	Files []*os.File

	charge *Charge // for the bytes
	budget *Budget // of the memory that decoding them takes
	room   int64   // the part of it for this value
}

// Charge makes c part of the value, which releases it when it is closed or decoded. While the value
// is decoded, the memory for that is taken from b. Together with the bytes it may be most at most.
func (e *Value) Charge(c *Charge, b *Budget, most int64) {
	e.charge, e.budget, e.room = c, b, max(0, most-int64(len(e.Bytes)))
}

// Close closes the files. This also closes the decoded files. Closing twice is harmless.
func (e Value) Close() {
	sys.CloseFiles(e.Files)
	e.charge.Release()
}

// CloseReceived is Close for somebody else's value: its files may linger.
func (e Value) CloseReceived() {
	sys.CloseReceived(e.Files)
	e.charge.Release()
}

// Encode is Marshal for values that may hold files, *os.File, anywhere but within interfaces and
// keys of maps. The Value has duplicates of them; v keeps its own. A file that comes twice is sent
// twice. Closed files, and more than MaxFiles, are errors.
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
		f, bad := duplicate(at, sh)
		if bad == nil {
			e.Files = append(e.Files, f)
		}
		return bad
	}}
	if bad := w.walk(reflect.ValueOf(v)); bad != nil {
		return e, bad
	}
	return e, nil
}

// duplicate gives another descriptor of the file at a leaf.
func duplicate(at reflect.Value, sh *shape) (*os.File, *ValueError) {
	f, ok := fileAt(at)
	if !ok {
		return nil, sh.fault("a reader or writer that is not a file, and was not connected to one")
	}
	dup, err := sys.DupFile(f)
	if err != nil {
		bad := sh.fault(shortWhy(err))
		bad.Closed = errors.Is(err, os.ErrClosed)
		if pe := (*os.PathError)(nil); errors.As(err, &pe) && !bad.Closed {
			bad.Errno = pe.Err
		}
		return nil, bad
	}
	return dup, nil
}

// Decode is Unmarshal for a Value that Encode has made. It takes the files over: they are in v
// afterwards, or closed if it fails. Neither the bytes nor the number of files are trusted.
func (e Value) Decode(v any) error {
	c, err := e.decode(v, func(n int64) (*Charge, error) { return e.budget.Take(n, nil) })
	e.over(c, err)
	return err
}

// over releases what the value no longer needs, after a decode or a failed one.
func (e Value) over(c *Charge, err error) {
	if err != nil {
		sys.CloseReceived(e.Files)
	}
	e.charge.Release()
	c.Release()
}

// decode is Decode without the final release, which over does. It asks take for the memory that it
// needs.
func (e Value) decode(v any, take func(n int64) (*Charge, error)) (c *Charge, err error) {
	defer catch(nil, &err, "decode", v)
	pay := spending{room: noLimit}
	if e.budget != nil {
		pay.room = e.room
		pay.allow = func(n int64) (err error) {
			if n > smallDecoded {
				c, err = take(n)
			}
			return err
		}
	}
	t := reflect.TypeOf(v)
	files := t != nil && t.Kind() == reflect.Pointer && HasFiles(t.Elem())
	if !files {
		sys.CloseReceived(e.Files)
	}
	if err := unmarshal(e.Bytes, v, &pay); err != nil || !files {
		return c, err
	}
	left := e.Files
	w := fileWalk{set: true, visit: func(at reflect.Value, sh *shape) *ValueError {
		if len(left) == 0 {
			bad := sh.fault(fmt.Sprintf("the value asks for more than the %d files that came with it", len(e.Files)))
			bad.Op = "decode"
			return bad
		}
		fill(at, left[0])
		left = left[1:]
		return nil
	}}
	bad := w.walk(reflect.ValueOf(v).Elem())
	if bad == nil && len(left) > 0 {
		why := fmt.Sprintf("%d files came with it, and it asks for %d", len(e.Files), len(e.Files)-len(left))
		bad = &ValueError{Op: "decode", Type: t.Elem().String(), Root: t.Elem().String(), Why: why}
	}
	if bad != nil {
		return c, bad
	}
	return c, nil
}

// FilesIn lists the files that v, whose type can cross, holds. If v has no end, it lists only the
// first files.
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
	_ = w.walk(reflect.ValueOf(v))
	return files
}

// fileAt gives the file at a leaf that is not nil; ok is false for a stream that is no file.
func fileAt(at reflect.Value) (f *os.File, ok bool) {
	if at.Kind() == reflect.Pointer {
		return at.Convert(reflect.TypeFor[*os.File]()).Interface().(*os.File), true
	}
	f, ok = at.Interface().(*os.File)
	return f, ok
}

// fill puts f into a leaf.
func fill(at reflect.Value, f *os.File) {
	v := reflect.ValueOf(f)
	if at.Kind() == reflect.Pointer {
		v = v.Convert(at.Type())
	}
	at.Set(v)
}

// A fileWalk visits the leaves of a value that hold a file, always in the same order.
type fileWalk struct {
	descent
	visit func(at reflect.Value, sh *shape) *ValueError
	set   bool     // visit changes the leaves
	own   bool     // visits streams only; the parts that hold them are copied first, so that they are v's own
	path  []string // the steps to the place where the walk is
}

func (w *fileWalk) walk(v reflect.Value) *ValueError {
	sh := shapeOf(v.Type())
	bad := w.at(v, sh, depth{})
	if bad != nil {
		bad.Root = sh.name()
	}
	return bad
}

// at goes on at v, which lies at d.
func (w *fileWalk) at(v reflect.Value, sh *shape, d depth) *ValueError {
	only := file
	if w.own {
		only = stream
	}
	if !sh.holds.has(only) {
		return nil
	}
	if sh.is.has(file) {
		if v.IsNil() {
			return nil
		}
		return w.visit(v, sh)
	}
	if bad := w.enter(sh, d, decodeDepth); bad != nil {
		return bad
	}
	if w.own {
		unshare(v)
	}
	whole := whole{v: v, shape: sh, only: only, set: w.set}
	if sh.kind == reflect.Map {
		var err error
		if whole.order, err = keysInOrder(v); err != nil {
			return sh.fault(shortWhy(err))
		}
	}
	for p := range whole.parts {
		w.path = append(w.path, p.step)
		if bad := w.at(p.v, p.shape, d.into(p)); bad != nil {
			return bad.in(p.step)
		}
		w.path = w.path[:len(w.path)-1]
	}
	return nil
}
