package chrootarchive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/moby/go-archive"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// files are the names and contents of files. A content that begins with "->" is a link, one that
// ends with "/" a directory.
type files map[string]string

// tarOf is an archive of files, in the order of their names.
func tarOf(t testing.TB, all files) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h, content := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, all[name]
		if target, ok := strings.CutPrefix(content, "->"); ok {
			h.Typeflag, h.Linkname, content = tar.TypeSymlink, target, ""
		} else if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// contents are the files of an archive.
func contents(t testing.TB, r io.Reader) files {
	t.Helper()
	all := make(files)
	for a := tar.NewReader(r); ; {
		h, err := a.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(b)
		if h.Typeflag == tar.TypeSymlink {
			all[h.Name] = "->" + h.Linkname
		}
	}
}

func write(t testing.TB, dir string, all files) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path, content := filepath.Join(dir, name), all[name]
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = errors.Join(err, os.Symlink(target, path))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// has fails the test if a file is not there, or its content is another; one that is to be "" must
// not be there.
func has(t testing.TB, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if content == "" && errors.Is(err, os.ErrNotExist) {
		return
	}
	if string(b) != content || err != nil {
		t.Errorf("%s: %q, %v; want %q", path, b, err, content)
	}
}

func TestUntarTakesWhatIsNotExcluded(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dest := filepath.Join(t.TempDir(), "made", "dest")
	stream := tarOf(t, files{"toto": "hello toto", "lolo": "hello lolo", "d/": "", "d/l": "->../toto"})
	if err := Untar(stream, dest, &archive.TarOptions{ExcludePatterns: []string{"lolo"}}); err != nil {
		t.Fatal(err)
	}
	has(t, filepath.Join(dest, "toto"), "hello toto")
	has(t, filepath.Join(dest, "d/l"), "hello toto")
	has(t, filepath.Join(dest, "lolo"), "")
	entries, err := os.ReadDir(dest)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err) // no directory for the old root is left
	}
}

func TestUntarTakesOptionsOfManyMegabytes(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dest := t.TempDir()
	var exclude []string
	for i := range rune(65534) {
		exclude = append(exclude, strings.Repeat(string(i+1), 64))
	}
	if err := Untar(tarOf(t, files{"toto": "hello"}), dest, &archive.TarOptions{ExcludePatterns: exclude}); err != nil {
		t.Fatal(err)
	}
	has(t, filepath.Join(dest, "toto"), "hello")
}

func TestUntarOfCompressedAndSlowStreams(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := tarOf(t, files{"f": strings.Repeat("f", 1<<20)}).WriteTo(w); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	for name, stream := range map[string]io.Reader{
		"gzip":          bytes.NewReader(z.Bytes()),
		"byte for byte": iotest.OneByteReader(bytes.NewReader(z.Bytes())),
	} {
		dest := t.TempDir()
		if err := Untar(stream, dest, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		has(t, filepath.Join(dest, "f"), strings.Repeat("f", 1<<20))
	}
	// An archive without any file is nothing but zeros.
	if err := Untar(iotest.OneByteReader(bytes.NewReader(make([]byte, 10240))), t.TempDir(), nil); err != nil {
		t.Error(err)
	}
	if _, err := ApplyLayer(t.TempDir(), iotest.OneByteReader(bytes.NewReader(make([]byte, 10240))), nil); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	if err := Untar(nil, dir, nil); err == nil {
		t.Error("no archive, and no error")
	}
	broken := errors.New("the line broke")
	stream := io.MultiReader(io.LimitReader(tarOf(t, files{"f": strings.Repeat("f", 9999)}), 2000), iotest.ErrReader(broken))
	if err := Untar(stream, dir, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := UntarWithRoot(tarOf(t, files{"f": ""}), filepath.Join(dir, "none"), nil, dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := UntarWithRoot(tarOf(t, files{"f": ""}), dir, nil, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := UntarWithRoot(tarOf(t, files{"f": ""}), dir, nil, ""); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := Untar(tarOf(t, files{"../out": "out"}), filepath.Join(dir, "d"), nil); err == nil {
		t.Error("an archive with .. is taken")
	}
	has(t, filepath.Join(dir, "out"), "")
	r, err := Tar(dir, &archive.TarOptions{ExcludePatterns: []string{"["}}, dir)
	if err == nil {
		_, err = io.ReadAll(r)
		r.Close()
	}
	if err == nil {
		t.Error("a pattern that is none is taken")
	}
}

// CVE-2018-15664: a link in the tree led to files of the host.
func TestUntarNeverWritesBehindALink(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write(t, dir, files{"host-file": "the host's", "root/": "", "root/safe": "->" + dir})
	stream := tarOf(t, files{"host-file": "theirs"})
	err := UntarWithRoot(bytes.NewReader(stream.Bytes()), filepath.Join(root, "safe"), nil, root)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err) // below root there is no such directory
	}
	has(t, filepath.Join(dir, "host-file"), "the host's")

	// Links in the archive itself.
	stream = tarOf(t, files{"a": "->/", "a/host-file": "theirs", "b": "->../..", "b/host-file": "theirs"})
	_ = Untar(bytes.NewReader(stream.Bytes()), root, nil)
	_, _ = ApplyLayer(root, bytes.NewReader(stream.Bytes()), nil)
	has(t, filepath.Join(dir, "host-file"), "the host's")
	has(t, "/host-file", "")

	// Who says that the link is the root, gets that.
	if err := UntarWithRoot(tarOf(t, files{"host-file": "theirs"}), filepath.Join(root, "safe"), nil, filepath.Join(root, "safe")); err != nil {
		t.Error(err)
	}
	has(t, filepath.Join(dir, "host-file"), "theirs")
}

func TestTarNeverReadsBehindALink(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	safe := filepath.Join(root, "safe")
	write(t, dir, files{"host-file": "the host's", "root/": "", "root/own": "theirs", "root/safe": "->" + dir})
	for _, c := range []struct {
		path    string
		include []string
		want    files
	}{
		{safe, []string{"host-file"}, nil},
		{safe + "/", []string{"host-file"}, nil},
		{safe, nil, files{"safe": "->" + dir}},
		{safe + "/", nil, nil},
		{root, []string{"safe/host-file"}, nil},
		{root, []string{"/safe/host-file"}, nil},
		{root, nil, files{"own": "theirs", "safe": "->" + dir}},
	} {
		r, err := Tar(c.path, &archive.TarOptions{IncludeFiles: c.include}, root)
		if err != nil {
			t.Error(err)
			continue
		}
		got := contents(t, r)
		for name, content := range got {
			if strings.Contains(content, "the host's") {
				t.Errorf("%s %q: %s is the host's", c.path, c.include, name)
			}
			if content == "->"+safe { // the name of a directory, which is its own
				delete(got, name)
			}
		}
		if c.want != nil && !maps.Equal(got, c.want) {
			t.Errorf("%s %q: %q", c.path, c.include, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTarAndUntarGiveTheSame(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	from, to := t.TempDir(), t.TempDir()
	all := files{"..dots": "dots", "d/": "", "d/e/": "", "d/e/f": strings.Repeat("0123456789", 1<<16), "l": "->d/e/f", "g": ""}
	write(t, from, all)
	if err := errors.Join(os.Chmod(filepath.Join(from, "g"), 0o6755), os.Lchown(filepath.Join(from, "d"), 7, 8)); err != nil {
		t.Fatal(err)
	}
	r, err := Tar(from, nil, from)
	if err != nil {
		t.Fatal(err)
	}
	if err := Untar(r, to, nil); err != nil {
		t.Fatal(err)
	}
	r.Close()
	changes, err := archive.ChangesDirs(to, from)
	if err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changes, err)
	}
	fi, err := os.Lstat(filepath.Join(to, "d"))
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != 7 || fi.Sys().(*syscall.Stat_t).Gid != 8 {
		t.Errorf("%+v, %v", fi, err)
	}
}

func TestLayersHaveWhiteoutsModesAndASize(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	defer unix.Umask(unix.Umask(0o077)) // a layer says itself what modes it has
	root := t.TempDir()
	write(t, root, files{"gone": "old", "d/old": "old", "kept": "old"})
	size, err := ApplyLayer(root, tarOf(t, files{".wh.gone": "", "d/": "", "d/.wh..wh..opq": "", "d/new": "new", "implied/f": "f"}), nil)
	if err != nil || size != 4 {
		t.Errorf("%d, %v", size, err)
	}
	want := files{"gone": "", "d/old": "", "d/new": "new", "kept": "old", "implied/f": "f", "d/.wh..wh..opq": ""}
	for name, content := range want {
		has(t, filepath.Join(root, name), content)
	}
	if fi, err := os.Stat(filepath.Join(root, "implied")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", fi, err)
	}
}

func TestIDsOfOptionsCross(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	root := t.TempDir()
	maps := []user.IDMap{{ID: 0, ParentID: 100000, Count: 10}}
	o := &archive.TarOptions{IDMap: user.IdentityMapping{UIDMaps: maps, GIDMaps: maps}}
	if err := Untar(tarOf(t, files{"f": "f"}), root, o); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(root, "f"))
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != 100000 {
		t.Errorf("%+v, %v", fi, err)
	}
}

func TestClosedArchivesAreMadeNoMore(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	write(t, dir, files{"f": strings.Repeat("f", 1<<24)})
	r, err := Tar(dir, nil, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 4096); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheHostIsOutOfReach(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	root := t.TempDir()
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	j := job{Root: root}
	if _, err := do(t.Context(), look, j); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !bytes.Equal(after, before) {
		t.Errorf("mounts have changed: %v\n%s", err, after)
	}
}

// look is a job that tries to get out.
var look = gonso.Register("chrootarchive.look", func(_ context.Context, j job) (struct{}, error) {
	return struct{}{}, j.inside(func(*archive.TarOptions) error {
		for range 64 { // chroot(2): how root leaves a chroot
			_ = unix.Mkdir("x", 0o700)
			if err := unix.Chroot("x"); err != nil {
				return err
			}
			for range 64 {
				_ = os.Chdir("..")
			}
			_ = unix.Chroot(".")
		}
		entries, err := os.ReadDir("/")
		if err != nil || len(entries) != 1 || entries[0].Name() != "x" {
			return fmt.Errorf("%v, %v", entries, err)
		}
		return nil
	})
})

func TestPlainUsersAreToldWhy(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	testenv.Leaks(t)
	if err := Untar(tarOf(t, files{"f": "f"}), t.TempDir(), nil); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v", err)
	}
}

func TestRootOfAUserNamespaceUnpacksWithoutDevices(t *testing.T) {
	if !testenv.IsAgain(t) {
		testenv.Need(t, testenv.Plain, testenv.UtilLinux("unshare"))
		testenv.RunAgain(t, testenv.Again(t, "unshare", "--map-root-user"))
		return
	}
	testenv.Leaks(t)
	stream := tarOf(t, files{"f": "f"})
	w := tar.NewWriter(stream)
	stream.Truncate(stream.Len() - 1024) // what ends an archive
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}), w.Close()); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if _, err := ApplyLayer(root, stream, nil); err != nil {
		t.Error(err)
	}
	has(t, filepath.Join(root, "f"), "f")
	if _, err := os.Lstat(filepath.Join(root, "null")); err == nil {
		t.Error("a device was made")
	}
}
