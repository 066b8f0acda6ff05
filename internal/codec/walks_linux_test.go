package codec

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/sys"
)

type WithFile struct{ G *os.File }

type nest struct {
	*WithFile
	treeOfFiles
	Maps  map[string]map[int][2]*os.File
	Lists [2][]map[bool]**os.File
	Keys  map[[2]int8]struct{ A, B *os.File }
	Deep  ***treeOfFiles
	Named map[string]named
}

// filesByPath finds files without the package's help.
func filesByPath(t *testing.T, v reflect.Value, path string, found map[string]uint64) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().ConvertibleTo(reflect.TypeFor[*os.File]()) {
			if !v.IsNil() {
				found[path] = inode(t, v.Convert(reflect.TypeFor[*os.File]()).Interface().(*os.File))
			}
		} else if !v.IsNil() {
			filesByPath(t, v.Elem(), path+"*", found)
		}
	case reflect.Struct:
		for f, e := range v.Fields() {
			filesByPath(t, e, path+"."+f.Name, found)
		}
	case reflect.Slice, reflect.Array, reflect.Map:
		for k, e := range v.Seq2() {
			filesByPath(t, e, fmt.Sprintf("%s[%v]", path, k), found)
		}
	}
}

// Whichever walk comes to the files of a value, it comes to the same ones in the same order.
func TestWalksAgree(t *testing.T) {
	f := newFiles(t, 40)
	next := func() *os.File {
		first := f[0]
		f = append(f[1:], first)
		return first
	}
	several := map[int][2]*os.File{}
	for _, n := range []int{0, -1, 23, 24, 255, 256, -300, math.MaxInt} { // encoded with different lengths
		several[n] = [2]*os.File{next(), next()}
	}
	behind, tree := next(), &treeOfFiles{F: next()}
	for what, v := range map[string]any{
		"nil everything": nest{},
		"maps":           nest{Maps: map[string]map[int][2]*os.File{"b": several, "": {1: {nil, next()}}, "aa": nil}},
		"lists":          nest{Lists: [2][]map[bool]**os.File{{{true: &behind}, nil, {false: nil}}, nil}},
		"keys":           nest{Keys: map[[2]int8]struct{ A, B *os.File }{{1, 2}: {next(), next()}, {-1}: {B: next()}}},
		"embedded":       nest{WithFile: &WithFile{next()}, treeOfFiles: treeOfFiles{next(), []*treeOfFiles{tree, nil, {F: next()}}}},
		"pointers":       nest{Deep: new(new(tree)), Named: map[string]named{"x": next(), "y": nil, "w": next()}},
		"shared":         []*treeOfFiles{tree, tree, {Next: []*treeOfFiles{tree}}},
		"one":            next(),
		"pointer":        &behind,
		"slices":         [][]*os.File{{next(), nil, next()}, nil, {}, {next()}},
	} {
		t.Run(what, func(t *testing.T) {
			want := inodes(t, v)
			enc, err := Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			var sent []uint64
			for _, s := range enc.Files {
				sent = append(sent, inode(t, s))
			}
			got := reflect.New(reflect.TypeOf(v))
			if err := enc.Decode(got.Interface()); err != nil {
				t.Fatal(err)
			}
			defer enc.Close()
			if !reflect.DeepEqual(sent, want) {
				t.Errorf("Encode sends %v, FilesIn lists %v", sent, want)
			}
			if got := inodes(t, got.Elem().Interface()); !reflect.DeepEqual(got, want) {
				t.Errorf("Decode made %v of %v", got, want)
			}
			here, there := map[string]uint64{}, map[string]uint64{}
			filesByPath(t, reflect.ValueOf(v), "", here)
			filesByPath(t, got.Elem(), "", there)
			if !reflect.DeepEqual(here, there) || len(here) != len(want) {
				t.Errorf("%v became %v; FilesIn lists %d", here, there, len(want))
			}
		})
	}
}

type ring struct {
	F    *os.File
	R    io.Reader
	Next map[string]*ring
	L    []*ring
}

// Each walk ends: with an error for what has no end, and with the right value otherwise.
func TestWalksEnd(t *testing.T) {
	f := newFiles(t, 1)[0]
	loop := &ring{F: f}
	loop.Next = map[string]*ring{"a": loop}
	self := &ring{F: f, L: make([]*ring, 1)}
	self.L[0] = self
	two := &ring{F: f}
	two.L = []*ring{{F: f, Next: map[string]*ring{"b": two}}}
	never := Connector{Stream: func(path string, _ any, _ bool) (*os.File, error) {
		t.Errorf("connects %s", path)
		return nil, errors.ErrUnsupported
	}}
	for what, v := range map[string]*ring{"a map": loop, "a slice": self, "several": two} {
		if enc, err := Encode(v); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "cycle") || enc.Files != nil {
			t.Errorf("cycle through %s: Encode: %v, %d files", what, err, len(enc.Files))
		}
		if _, err := Connect(&v, never); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "cycle") {
			t.Errorf("cycle through %s: Connect: %v", what, err)
		}
		if n := len(FilesIn(v)); n == 0 || n > 2*decodeDepth {
			t.Errorf("cycle through %s: FilesIn lists %d", what, n)
		}
	}

	dag := &ring{}
	for range 100 {
		dag = &ring{L: []*ring{dag, dag}}
	}
	w := fileWalk{descent: descent{seen: MaxValue - 1000}} // the beginning takes its time
	if bad := w.walk(reflect.ValueOf(dag)); bad == nil || !w.endless {
		t.Errorf("unfolds without end: %v", bad)
	}

	var none *ring
	for _, v := range []any{none, ring{}, []*ring{nil}, []ring(nil), map[int]ring{}, map[int]*ring{1: nil}, [1]*ring{}} {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		if _, err := Connect(p.Interface(), never); err != nil || !reflect.DeepEqual(p.Elem().Interface(), v) {
			t.Errorf("Connect: %#v became %#v, %v", v, p.Elem(), err)
		}
		got := reflect.New(reflect.TypeOf(v))
		enc, err := Encode(v)
		if err == nil {
			err = enc.Decode(got.Interface())
		}
		if err != nil || !reflect.DeepEqual(got.Elem().Interface(), v) || len(FilesIn(v)) > 0 {
			t.Errorf("%#v became %#v, %v", v, got.Elem(), err)
		}
	}
}

// Connect gives what several pointers share to each, and changes nobody else's value.
func TestConnectCopiesWhatIsShared(t *testing.T) {
	f := newFiles(t, 9)
	shared := &ring{R: strings.NewReader("shared"), F: f[0]}
	inner := map[string]*ring{"b": shared, "a": {R: strings.NewReader("a")}, "none": nil, "file": {R: f[1]}}
	list := []*ring{shared, nil, {L: []*ring{shared}}}
	v := ring{Next: inner, L: list, R: (*os.File)(nil)}
	var paths []string
	if _, err := Connect(&v, Connector{Stream: func(path string, stream any, writer bool) (*os.File, error) {
		paths = append(paths, path)
		if _, ok := stream.(*strings.Reader); !ok || writer {
			t.Errorf("%s is a %T, %v", path, stream, writer)
		}
		return f[1+len(paths)], nil
	}}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Next[].R", "Next[].R", "L[].R", "L[].L[].R"}; !reflect.DeepEqual(paths, want) {
		t.Errorf("connects %v, want %v", paths, want)
	}
	_, untouched := shared.R.(*strings.Reader)
	if !untouched || inner["b"] != shared || list[0] != shared || list[2].L[0] != shared {
		t.Error("the caller's value has changed")
	}
	if v.R != nil || v.Next["a"].R != f[2] || v.Next["b"].R != f[3] || v.Next["file"].R != f[1] || v.L[0].R != f[4] || v.L[2].L[0].R != f[5] ||
		v.L[1] != nil || v.Next["none"] != nil || len(v.Next) != 4 || v.L[0].F != f[0] {
		t.Errorf("%+v", v)
	}
	if got, want := len(FilesIn(v)), 3+5; got != want {
		t.Errorf("%d files, want %d", got, want)
	}
}

// What holds files but no streams may be in use by others: the race detector sees a write.
func TestConnectWritesToNobodysMap(t *testing.T) {
	v := struct {
		M map[int]*os.File
		R io.Reader
	}{map[int]*os.File{1: os.Stdin}, strings.NewReader("")}
	m, done := v.M, make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			_ = m[1]
		}
	}()
	stdin := func(string, any, bool) (*os.File, error) { return os.Stdin, nil }
	if _, err := Connect(&v, Connector{Stream: stdin}); err != nil {
		t.Error(err)
	}
	<-done
}

// Nothing finds what is behind NaN.
func TestFilesBehindNaN(t *testing.T) {
	f := newFiles(t, 1)[0]
	before := descriptorCount(t)
	v := map[float64]*os.File{math.NaN(): f}
	if _, err := Encode(v); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "not equal to itself") {
		t.Errorf("Encode: %v", err)
	}
	if files := FilesIn(v); len(files) > 0 {
		t.Errorf("FilesIn lists %d", len(files))
	}
	dup, err := sys.DupFile(f)
	if err != nil {
		t.Fatal(err)
	}
	enc := Value{Bytes: []byte{0xa1, 0xf9, 0x7e, 0x00, 0xda, 'f', 'i', 'l', 'e', 0xa0}, Files: []*os.File{dup}}
	if err := enc.Decode(&v); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), "not equal to itself") {
		t.Errorf("Decode: %v", err)
	}
	if n := descriptorCount(t); n != before {
		t.Errorf("%d descriptors more", n-before)
	}
}
