package codec

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

type named *os.File

type treeOfFiles struct {
	F    *os.File
	Next []*treeOfFiles `json:",omitempty"`
}

type filesEverywhere struct {
	A     *os.File
	Nil   *os.File
	List  []*os.File
	Array [2]*os.File
	ByKey map[string]*os.File
	ByNum map[int]struct{ F, G *os.File }
	Deep  **os.File
	Other named
	treeOfFiles
	Tree *treeOfFiles
	Text string
}

// newFiles makes files that can be told by their inode.
func newFiles(t testing.TB, n int) []*os.File {
	t.Helper()
	files := make([]*os.File, n)
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files[i] = f
	}
	return files
}

func inode(t testing.TB, f *os.File) uint64 {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

func inodes(t testing.TB, v any) (all []uint64) {
	t.Helper()
	for _, f := range FilesIn(v) {
		all = append(all, inode(t, f))
	}
	return all
}

func TestFilesCross(t *testing.T) {
	f := newFiles(t, 14)
	v := filesEverywhere{
		A: f[0], List: []*os.File{f[1], nil, f[2]}, Array: [2]*os.File{nil, f[3]},
		ByKey: map[string]*os.File{"b": f[4], "a": f[5], "none": nil},
		ByNum: map[int]struct{ F, G *os.File }{-1: {f[6], f[7]}, 300: {G: f[8]}},
		Deep:  &f[9], Other: f[10], treeOfFiles: treeOfFiles{F: f[11]},
		Tree: &treeOfFiles{F: f[12], Next: []*treeOfFiles{{F: f[13]}, {}}}, Text: "text",
	}
	enc, err := Encode(v)
	sent := enc.Files
	if err != nil {
		t.Fatal(err)
	}
	if len(sent) != 14 {
		t.Fatalf("%d files", len(sent))
	}
	for _, s := range sent {
		if flags, err := unix.FcntlInt(s.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %d, %v", flags, err)
		}
	}
	var got filesEverywhere
	if err := enc.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if g, w := inodes(t, got), inodes(t, v); !reflect.DeepEqual(g, w) || len(g) != 14 {
		t.Errorf("files %v, want %v", g, w)
	}
	if got.Nil != nil || got.List[1] != nil || got.Text != "text" || got.ByKey["none"] != nil || len(got.ByKey) != 3 ||
		inode(t, got.ByKey["a"]) != inode(t, f[5]) || inode(t, got.ByNum[300].G) != inode(t, f[8]) || inode(t, got.Tree.Next[0].F) != inode(t, f[13]) {
		t.Errorf("%+v", got)
	}
	sys.CloseFiles(FilesIn(got))
	for _, mine := range f {
		inode(t, mine) // the sender's are open
	}
}

func TestFilesThatCannotCross(t *testing.T) {
	f := newFiles(t, 2)
	closed := newFiles(t, 1)[0]
	closed.Close()
	many := make([]*os.File, MaxFiles+1)
	for i := range many {
		many[i] = f[0]
	}
	for what, c := range map[string]struct {
		v    any
		want string
	}{
		"closed":        {struct{ A, B *os.File }{f[0], closed}, "*os.File in field B"},
		"zero":          {[]*os.File{new(os.File)}, "panic"},
		"too many":      {many, "more than 250 files"},
		"in an any":     {struct{ V any }{f[0]}, "within interfaces"},
		"deep in any":   {[]any{[]*os.File{f[0]}}, "within interfaces"},
		"a plain value": {struct{ F os.File }{}, "*os.File only"},
	} {
		before := descriptorCount(t)
		enc, err := Encode(c.v)
		sent := enc.Files
		if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.want) || sent != nil {
			t.Errorf("%s: %v, %d files; want %q", what, err, len(sent), c.want)
		}
		if n := descriptorCount(t); n != before {
			t.Errorf("%s: %d descriptors more", what, n-before)
		}
	}
	if enc, err := Encode(many[:MaxFiles]); err != nil {
		t.Error(err)
	} else {
		var got []*os.File
		if err := enc.Decode(&got); err != nil || len(got) != MaxFiles {
			t.Errorf("%d files, %v", len(got), err)
		}
		sys.CloseFiles(got)
	}
	if _, err := Marshal(f); err == nil || !strings.Contains(err.Error(), "cannot cross here") {
		t.Errorf("Marshal: %v", err)
	}
	if err := Unmarshal([]byte{0x80}, &f); err == nil || !strings.Contains(err.Error(), "cannot cross here") {
		t.Errorf("Unmarshal: %v", err)
	}
}

// Whatever number of files comes along, those that are not in the value are closed.
func TestFilesThatDoNotFit(t *testing.T) {
	enc, err := Encode(newFiles(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	enc.Close()
	two := enc.Bytes
	for what, c := range map[string]struct {
		b     []byte
		files int
		v     any
		want  string
	}{
		"too few":      {two, 1, new([]*os.File), "more than the 1 files"},
		"none":         {two, 0, new([]*os.File), "more than the 0 files"},
		"too many":     {two, 3, new([]*os.File), "asks for 2"},
		"unasked":      {[]byte{0xf6}, 1, new(*int), ""},
		"not a file":   {[]byte{0x81, 0x05}, 1, new([]*os.File), "cannot decode"},
		"with fields":  {append([]byte{0x81, 0xda, 'f', 'i', 'l', 'e'}, 0xa1, 0x61, 'x', 0x01), 1, new([]*os.File), "unknown field"},
		"cut short":    {[]byte{0x82, 0xda, 'f', 'i', 'l', 'e', 0xa0}, 1, new([]*os.File), "EOF"},
		"bytes behind": {[]byte{0x81, 0xda, 'f', 'i', 'l', 'e', 0xa0, 0x00}, 1, new([]*os.File), "extraneous"},
		"untagged":     {[]byte{0x81, 0xa0}, 1, new([]*os.File), "cannot decode"},
		"elsewhere": {[]byte{0xa1, 0x61, 'V', 0xda, 'f', 'i', 'l', 'e', 0xa0}, 0, new(struct {
			V any
			F *os.File
		}), "where none belongs"},
		"not a pointer":   {two, 2, []*os.File{}, "not a pointer"},
		"another's value": {two, 2, new(string), "cannot decode"},
	} {
		before := descriptorCount(t)
		files := make([]*os.File, c.files)
		for i := range files {
			if files[i], err = os.Open("/dev/null"); err != nil {
				t.Fatal(err)
			}
		}
		err := Value{Bytes: c.b, Files: files}.Decode(c.v)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrValue) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if n := descriptorCount(t); n != before {
			t.Errorf("%s: %d descriptors more", what, n-before)
		}
	}
}

// Readers and writers are for arguments, and files by the time that they are encoded.
func TestStreamsAreForArguments(t *testing.T) {
	typ := reflect.TypeFor[struct{ R io.Reader }]()
	if err := CheckType(typ); err == nil || !strings.Contains(err.Error(), "in arguments only") {
		t.Error(err)
	}
	if err := CheckArgument(typ); err != nil {
		t.Error(err)
	}
	if err := CheckArgument(reflect.TypeFor[struct{ R io.ReaderAt }]()); err == nil {
		t.Error("any interface goes")
	}
	if _, err := Encode(struct{ R io.Reader }{strings.NewReader("")}); err == nil || !strings.Contains(err.Error(), "not connected") {
		t.Error(err)
	}
}

func FuzzFiles(f *testing.F) {
	enc, err := Encode(filesEverywhere{A: os.Stdin, ByKey: map[string]*os.File{"x": os.Stdin}, Tree: &treeOfFiles{F: os.Stdin}})
	if err != nil {
		f.Fatal(err)
	}
	enc.Close()
	f.Add(enc.Bytes, 3)
	f.Add([]byte{0xa0}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		files := make([]*os.File, min(max(n, 0), 8))
		for i := range files {
			files[i], _ = os.Open("/dev/null")
		}
		var v filesEverywhere
		if (Value{Bytes: b, Files: files}).Decode(&v) == nil {
			if in := FilesIn(v); len(in) != len(files) {
				t.Errorf("%d files of %d", len(in), len(files))
			}
			again, err := Encode(v)
			if err != nil || len(again.Files) != len(files) {
				t.Errorf("%x: %v, %d files", again.Bytes, err, len(again.Files))
			}
			again.Close()
		}
		for _, f := range files {
			f.Close()
		}
	})
}

func descriptorCount(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
