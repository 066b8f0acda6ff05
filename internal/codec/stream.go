package codec

import (
	"io"
	"os"
	"reflect"
	"slices"
)

// A stream is a reader or writer in an argument. It crosses as a file: the stream is that file, or
// was connected to it.

func isStream(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[io.Reader](), reflect.TypeFor[io.ReadCloser]():
		return true
	}
	return isWritten(t)
}

// isWritten reports whether t is a type of streams that are written to.
func isWritten(t reflect.Type) bool {
	return t == reflect.TypeFor[io.Writer]() || t == reflect.TypeFor[io.WriteCloser]()
}

// A Connector gives files in place of streams that are not nil, and ends in place of channels that
// are not nil.
type Connector struct {
	Stream  func(path string, stream any, writer bool) (*os.File, error)
	Channel func(path string, ch reflect.Value) (*Ends, error)
}

// Connect returns a pointer to the value that crosses in place of the value that p points to. c
// replaces each channel in it, and each stream that is not a file. Parts that hold streams are
// copied first, because others may have them, too. For a value without channels, Connect returns p.
func Connect(p any, c Connector) (connected any, err error) {
	v := reflect.ValueOf(p).Elem()
	sh := shapeOf(v.Type())
	defer catch(nil, &err, "encode", p)
	if bad := (&look{}).at(v, sh, false, depth{}); bad != nil { // a cycle cannot be copied
		bad.Root = sh.name()
		return nil, bad
	}
	if sh.holds.has(channel) {
		m, err := mirror(v, sh, c.Channel)
		if err != nil {
			return nil, err
		}
		p, v = m.Interface(), m.Elem()
	}
	w := fileWalk{set: true, own: true}
	w.visit = func(at reflect.Value, sh *shape) *ValueError {
		if f, ok := fileAt(at); ok {
			if f == nil {
				at.SetZero() // an interface that holds a nil file
			}
			return nil
		}
		f, failed := c.Stream(pathOf(w.path), at.Interface(), isWritten(sh.t))
		if failed != nil {
			err = failed
			return sh.fault(failed.Error())
		}
		fill(at, f)
		return nil
	}
	if bad := w.walk(v); bad != nil && err == nil {
		err = bad
	}
	return p, err
}

func pathOf(steps []string) (path string) {
	for _, step := range slices.Backward(steps) {
		path = joinStep(step, path)
	}
	return path
}

// unshare replaces a pointer, slice or map by a copy of its content.
func unshare(v reflect.Value) {
	switch k := v.Kind(); {
	case k == reflect.Pointer && !v.IsNil():
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		v.Set(c.Convert(v.Type()))
	case k == reflect.Slice && !v.IsNil():
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
	case k == reflect.Map && !v.IsNil():
		c := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			c.SetMapIndex(it.Key(), it.Value())
		}
		v.Set(c)
	}
}
