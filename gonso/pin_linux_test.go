package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// tree lists what is in a directory and on it, for comparison. Without it, "".
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		switch {
		case err != nil:
		case d.IsDir(): // its size varies
			fmt.Fprintf(&b, "%s %v\n", path, i.Mode())
		default:
			fmt.Fprintf(&b, "%s %v %d\n", path, i.Mode(), i.Size())
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	info, rerr := os.ReadFile("/proc/thread-self/mountinfo")
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	for _, m := range parseMountinfo(string(info)) {
		if m.point == dir || strings.HasPrefix(m.point, dir+"/") {
			fmt.Fprintf(&b, "mount at %s\n", m.point)
		}
	}
	return b.String()
}

// pinned pins a Set for the time of the test.
func pinned(t testing.TB, s *Set, dir string) {
	t.Helper()
	if err := s.Pin(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Lstat(dir); err == nil {
			Unpin(dir)
		}
	})
}

func TestPinnedNamespacesOutliveTheSet(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s, err := Unshare(User | Net | UTS | IPC | Cgroup | timeIfThere())
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := parent + "/pinned"
	before := tree(t, parent)
	pinned(t, s, dir)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	want := s.String()
	in := foreign(t, s)
	s.Close()

	again := owned(t)(FromDir(dir))
	if again.String() != want {
		t.Errorf("%v, want %s", again, want)
	}
	p := goIn(t, again)
	wantLinks(t, p.PID, 0, inside(t, again))
	if one := owned(t)(Open(dir + "/uts")); idOf(t, one, UTS) != in["uts"] {
		t.Errorf("uts alone: %v", one)
	}
	t.Run("another program looks", func(t *testing.T) {
		testenv.Need(t, testenv.UtilLinux("nsenter"))
		for typ := range in {
			out, err := exec.Command("nsenter", "--"+typ+"="+dir+"/"+typ, "readlink", "/proc/self/ns/"+typ).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != in[typ] {
				t.Errorf("nsenter: %s %s, %v; want %s", typ, got, err, in[typ])
			}
		}
	})

	if err := Unpin(dir); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, parent); after != before {
		t.Errorf("after Unpin:\n%swant\n%s", after, before)
	}
	if q := goIn(t, again); q.NS["net"] != in["net"] {
		t.Errorf("the Set that was opened there is in %s now", q.NS["net"])
	}
	_, err = FromDir(dir)
	wantError(t, "FromDir after Unpin", err, fs.ErrNotExist, dir)
}

func TestPinNS(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net|UTS)
	dir := t.TempDir()
	blue, red := dir+"/blue", dir+"/red"
	if err := errors.Join(os.WriteFile(dir+"/others", []byte("x"), 0o600), os.WriteFile(red, nil, 0)); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	if err := errors.Join(s.PinNS(Net, blue), s.PinNS(UTS, red)); err != nil {
		t.Fatal(err)
	}
	if o := owned(t)(Open(blue, red)); o.String() != s.String() {
		t.Errorf("%v, want %v", o, s)
	}
	if o := owned(t)(FromDir(dir)); o.String() != s.String() {
		t.Errorf("by type, as the names say nothing: %v, want %v", o, s)
	}
	if err := Unpin(red, blue); err != nil {
		t.Error(err)
	}
	os.WriteFile(red, nil, 0) // it was there before, and Unpin cannot know
	if after := tree(t, dir); after != before {
		t.Errorf("after Unpin:\n%swant\n%s", after, before)
	}

	err := s.PinNS(IPC, blue)
	wantError(t, "not in the Set", err, errNotInSet, "ipc")
	err = s.PinNS(Net|UTS, blue)
	wantError(t, "two", err, errOneType)
	err = s.PinNS(Net, dir+"/none/blue")
	wantError(t, "no directory", err, fs.ErrNotExist, "pin net", dir+"/none/blue")
	for _, path := range []string{"", "/", ".", dir + "/..", dir + "/."} {
		err = s.PinNS(Net, path)
		wantError(t, path, err, os.ErrInvalid, "names no file")
	}
	err = new(Set).Pin(dir)
	wantError(t, "zero Set", err, errNothingToPin, dir)
	if after := tree(t, dir); after != before {
		t.Errorf("after refusals:\n%swant\n%s", after, before)
	}
}

// What is there already is neither hidden nor changed, and nothing else is made.
func TestPinCannotHideWhatIsThere(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net|UTS)
	other := unshare(t, UTS)
	for name, c := range map[string]struct {
		make func(path string) error
		say  string
	}{
		"directory": {func(p string) error { return os.Mkdir(p, 0o700) }, "a directory"},
		"symlink":   {func(p string) error { return os.Symlink("nowhere", p) }, "a symbolic link"},
		"a link to a file": {func(p string) error {
			return errors.Join(os.WriteFile(p+"-target", nil, 0o600), os.Symlink(p+"-target", p))
		}, "a symbolic link"},
		"fifo":       {func(p string) error { return unix.Mkfifo(p, 0o600) }, "special"},
		"socket":     {func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) }, "special"},
		"device":     {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, "special"},
		"filled":     {func(p string) error { return os.WriteFile(p, []byte("x"), 0o600) }, "not empty"},
		"pinned":     {func(p string) error { return other.PinNS(UTS, p) }, "gonso.Unpin takes it away"},
		"its pinned": {func(p string) error { return s.PinNS(UTS, p) }, "a pinned namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			dir := t.TempDir()
			if err := c.make(dir + "/uts"); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			err := s.Pin(dir)
			wantError(t, "Pin", err, fs.ErrExist, "pin uts", dir+"/uts", c.say)
			err = s.PinNS(Net, dir+"/uts")
			wantError(t, "PinNS", err, fs.ErrExist, "pin net", dir+"/uts", c.say)
			if after := tree(t, dir); after != before {
				t.Errorf("there is now\n%swas\n%s", after, before)
			}
			if strings.Contains(name, "pinned") {
				if err := Unpin(dir + "/uts"); err != nil {
					t.Error(err)
				}
				return
			}
			err = Unpin(dir + "/uts")
			wantError(t, "Unpin", err, ErrNotNamespace, "unpin", dir+"/uts")
			err = Unpin(dir)
			wantError(t, "Unpin of the directory", err, ErrNotNamespace, dir)
			if after := tree(t, dir); after != before {
				t.Errorf("after Unpin there is\n%swas\n%s", after, before)
			}
		})
	}
	err := s.Pin("/dev/null")
	wantError(t, "no directory", err, unix.ENOTDIR, "/dev/null")
	err = s.Pin("/proc/no/such")
	wantError(t, "no parent", err, fs.ErrNotExist, "/proc/no/such")
}

func TestHalfDonePinLeavesNothing(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Cgroup|IPC|Net|UTS)
	parent := t.TempDir()
	before := tree(t, parent)
	for failing := range 4 {
		// The mount of one of them has gone, so attaching it fails.
		p := newPinning(parent + "/new")
		var errs []error
		s.c.types.each(func(i int, typ Type) { errs = append(errs, p.add(s.c, typ, typeTable[i].name, typeTable[i].name)) })
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		var err error
		if p.parent, err = openDirectory(parent); err != nil {
			t.Fatal(err)
		}
		p.base = "new"
		unix.Close(p.mounts[failing])
		p.mounts[failing] = -1
		err = p.run()
		p.close()
		wantError(t, "run", err, unix.EBADF, "pin", p.spots[failing].path, "move_mount")
		if strings.Contains(err.Error(), "undo") {
			t.Error(err)
		}
		if after := tree(t, parent); after != before {
			t.Fatalf("failing at %d leaves\n%swant\n%s", failing, after, before)
		}
	}
	// What others put there meanwhile stays, and so does its directory.
	p := newPinning(parent + "/new")
	defer p.close()
	var err error
	if err = p.add(s.c, Net, "net", "net"); err != nil {
		t.Fatal(err)
	}
	if p.parent, err = openDirectory(parent); err != nil {
		t.Fatal(err)
	}
	p.base = "new"
	for _, step := range []pinStep{{makeDir, 0}, {makeFile, 0}} {
		if err := p.do(step); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(parent+"/new/net"), os.WriteFile(parent+"/new/net", []byte("others'"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.undo(pinStep{makeFile, 0}), p.undo(pinStep{makeDir, 0})); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(parent + "/new/net"); err != nil || string(b) != "others'" {
		t.Errorf("somebody else's file: %q, %v", b, err)
	}
}

func TestConcurrentPinsCannotHideEachOther(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	sets := []*Set{unshare(t, Net), unshare(t, Net), unshare(t, Net), unshare(t, Net)}
	dir := t.TempDir()
	for _, there := range []bool{true, false} {
		for range 50 {
			if there {
				if err := os.WriteFile(dir+"/net", nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			errs := make([]error, len(sets))
			for i, s := range sets {
				wg.Go(func() { errs[i] = s.PinNS(Net, dir+"/net") })
			}
			wg.Wait()
			won := slices.Index(errs, nil)
			for i, err := range errs {
				if err == nil && i != won {
					t.Fatalf("two have pinned: %v", errs)
				}
			}
			if n := strings.Count(tree(t, dir), "mount at"); n > 1 || won >= 0 && n != 1 {
				t.Fatalf("%d mounts:\n%s%v", n, tree(t, dir), errs)
			}
			if won >= 0 {
				if s, err := Open(dir + "/net"); err != nil || s.String() != sets[won].String() {
					t.Fatalf("%v, %v; want %v", s, err, sets[won])
				} else {
					s.Close()
				}
				if err := Unpin(dir + "/net"); err != nil {
					t.Fatal(err)
				}
			} else if there {
				t.Fatalf("the file was there, and nobody has pinned: %v", errs)
			}
			if left := tree(t, dir); strings.Count(left, "\n") != 1 {
				t.Fatalf("left:\n%s%v", left, errs)
			}
		}
	}
}

func TestUnpin(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net|UTS)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }

	err := Unpin()
	wantError(t, "nothing", err, errNoFiles)
	wantError(t, "no path", Unpin(""), fs.ErrNotExist, "unpin")
	for _, path := range []string{at("none"), at("none/net")} {
		if err := Unpin(path); err != nil {
			t.Errorf("where nothing is: %v", err)
		}
	}
	for _, path := range []string{"/proc/self/ns/net", "/proc/self/ns", "/", dir, "/dev/null", "/proc/self/status"} {
		err = Unpin(path)
		wantError(t, path, err, ErrNotNamespace, "unpin "+path)
	}

	// The rest is unpinned nevertheless; what is not Pin's stays.
	pinned(t, s, at("a"))
	pinned(t, s, at("b"))
	if err := os.WriteFile(at("b/README"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = Unpin(at("a"), "/dev/null", at("b"), at("b/README"))
	wantError(t, "one of four", err, ErrNotNamespace, "/dev/null")
	wantError(t, "another", err, ErrNotNamespace, at("b/README"))
	if got, want := tree(t, dir), at("b/README"); !strings.Contains(got, want) || strings.Count(got, "\n") != 3 {
		t.Errorf("left:\n%s", got)
	}

	// A file with content below a mount is somebody's.
	if err := os.WriteFile(at("filled"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", s.c.ns[Net.index()].FD()), at("filled"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(at("filled")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(at("filled")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}

	// Two above each other: afterwards nothing is pinned there.
	if err := s.PinNS(Net, at("twice")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", s.c.ns[UTS.index()].FD()), at("twice"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(at("twice")); err != nil {
		t.Error(err)
	}

	// A pin that is in use: the program that works there goes on.
	if err := s.PinNS(Net, at("used")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(at("used"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Unpin(at("used")); err != nil {
		t.Error(err)
	}
	if o := owned(t)(FromFiles(f)); o.Types() != Net {
		t.Errorf("%v", o)
	}

	// By relative names, and the working directory, which cannot be removed by that.
	t.Chdir(at("b"))
	if err := errors.Join(os.Remove("README"), s.Pin("."), Unpin("."), s.PinNS(Net, "x"), Unpin("x"), s.Pin("sub"), Unpin("sub/")); err != nil {
		t.Error(err)
	}
	t.Chdir(dir)
	if got := tree(t, dir); strings.Contains(got, "mount at") || strings.Count(got, "\n") != 3 {
		t.Errorf("left:\n%s", got)
	}
}

// A closure pins where it is: in the mnt namespace of its Set.
func TestPinInClosureStaysInside(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir := t.TempDir()
	s, m := unshare(t, Net|UTS), unshare(t, Mount)
	before := tree(t, dir)
	var inside *Set
	if err := m.Run(func() error {
		if err := s.Pin(dir); err != nil {
			return err
		}
		if n := strings.Count(tree(t, dir), "mount at"); n != 2 {
			t.Errorf("%d mounts inside", n)
		}
		var err error
		inside, err = FromDir(dir)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if inside.String() != s.String() {
		t.Errorf("%v, want %v", inside, s)
	}
	outside := tree(t, dir)
	if strings.Contains(outside, "mount at") {
		t.Errorf("on the host:\n%s", outside)
	}
	if err := m.Run(func() error { return Unpin(dir+"/net", dir+"/uts") }); err != nil {
		t.Error(err)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}
}

// unshare(1) tells of the private mount that a mnt namespace wants.
func TestPinMountNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Mount|Net)
	dir := t.TempDir()
	mountTmpfs(t, dir)
	defer unix.Unmount(dir, unix.MNT_DETACH)

	// In itself, or from a newer one: it would keep itself for ever.
	cur := owned(t)(Current())
	before := tree(t, dir)
	err := cur.Pin(dir + "/home")
	wantError(t, "one's own", err, unix.ELOOP, "pin mnt", dir+"/home/mnt", "Set.Without")
	if err := s.Run(func() error { return s.PinNS(Mount, dir+"/mnt") }); !errors.Is(err, unix.ELOOP) {
		t.Errorf("from inside: %v", err)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}

	pinned(t, s, dir+"/private")
	if o := owned(t)(FromDir(dir + "/private")); o.String() != s.String() {
		t.Errorf("%v, want %v", o, s)
	}
	if err := Unpin(dir + "/private"); err != nil {
		t.Error(err)
	}

	// Shared with a peer, to which the kernel would have to spread it.
	shared, peer := sharedMount(t), t.TempDir()
	if err := unix.Mount(shared, peer, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(peer, unix.MNT_DETACH)
	before = tree(t, shared) + tree(t, peer)
	err = s.Pin(shared + "/new")
	wantError(t, "shared", err, unix.EINVAL, "pin mnt", shared+"/new/mnt",
		"as that at "+shared+" is", "mount --bind "+shared+"/new "+shared+"/new && mount --make-private "+shared+"/new")
	err = s.PinNS(Mount, shared+"/mnt")
	wantError(t, "one, shared", err, unix.EINVAL, "mount --make-private "+shared)
	if after := tree(t, shared) + tree(t, peer); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}
	// As advised.
	own := shared + "/own"
	if err := errors.Join(os.Mkdir(own, 0o755), unix.Mount(own, own, "", unix.MS_BIND, ""), unix.Mount("", own, "", unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(own, unix.MNT_DETACH)
	if err := errors.Join(s.Pin(own), Unpin(own)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("a mount point is not to be removed: %v", err)
	}
	// The others may be on a shared mount, and arrive at the peer, and go there too.
	n := owned(t)(s.Without(Mount))
	if err := n.Pin(shared + "/net"); err != nil {
		t.Fatal(err)
	}
	if o := owned(t)(FromDir(peer + "/net")); o.String() != n.String() {
		t.Errorf("at the peer: %v, want %v", o, n)
	}
	if err := Unpin(shared + "/net"); err != nil {
		t.Error(err)
	}
	if got := tree(t, shared) + tree(t, peer); strings.Contains(got, "/net") {
		t.Errorf("left\n%s", got)
	}
}

func TestPinNeedsPrivilege(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	testenv.Leaks(t)
	dir := t.TempDir()
	before := tree(t, dir)
	s := owned(t)(Current(Net, UTS))
	err := s.Pin(dir + "/new")
	wantError(t, "Pin", err, unix.EPERM, "pin net", dir+"/new/net", "(it needs CAP_SYS_ADMIN")
	err = s.PinNS(UTS, dir+"/uts")
	wantError(t, "PinNS", err, unix.EPERM, "pin uts", dir+"/uts", "(it needs CAP_SYS_ADMIN")
	if after := tree(t, dir); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}
}

// pinInside has a plain user's root pin in a mnt namespace of its own.
var pinInside = Register("test.pin", func(_ context.Context, dir string) (string, error) {
	s, err := Unshare(UTS)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if err := errors.Join(unix.Mount("tmpfs", dir, "tmpfs", 0, ""), s.Pin(dir+"/pinned")); err != nil {
		return "", err
	}
	o, err := FromDir(dir + "/pinned")
	if err != nil {
		return "", err
	}
	defer o.Close()
	_, err = os.Stat(dir + "/pinned/uts")
	if uerr := Unpin(dir + "/pinned"); uerr != nil || err != nil {
		return "", errors.Join(err, uerr)
	}
	if _, err := os.Stat(dir + "/pinned"); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("after Unpin: %v", err)
	}
	if o.String() != s.String() {
		return "", fmt.Errorf("%v, want %v", o, s)
	}
	return o.String(), nil
})

func TestPinInOwnMountNamespaceNeedsNoPrivilege(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Mount)
	got, err := pinInside.Do(context.Background(), s, t.TempDir())
	if err != nil || !strings.HasPrefix(got, "{uts:[") {
		t.Errorf("%s, %v", got, err)
	}
}

// What is called again for the same thing has to succeed. Files are
// left by reboots, by those who unmount, and by programs that were killed.
func TestUnpinOfWhatIsNotPinnedAnyMore(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net|UTS)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	before := tree(t, dir)

	if err := s.PinNS(Net, at("blue")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Unpin(at("blue")); err != nil {
			t.Error(err)
		}
	}
	pinned(t, s, at("set"))
	for range 2 {
		if err := Unpin(at("set")); err != nil {
			t.Error(err)
		}
	}

	// Unmounted by somebody else: all, one of two, and of a file of any name.
	if err := errors.Join(s.PinNS(Net, at("blue")), unix.Unmount(at("blue"), 0)); err != nil {
		t.Fatal(err)
	}
	pinned(t, s, at("all"))
	pinned(t, s, at("one"))
	if err := errors.Join(unix.Unmount(at("all/net"), 0), unix.Unmount(at("all/uts"), 0), unix.Unmount(at("one/net"), 0)); err != nil {
		t.Fatal(err)
	}
	if err := Unpin(at("blue"), at("all"), at("one")); err != nil {
		t.Error(err)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}
}

// What an earlier Pin has left is pinned over, by whole Sets and by one namespace.
func TestPinOverWhatIsLeft(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s, other := unshare(t, Net|UTS), unshare(t, Net|UTS)
	dir := t.TempDir()
	before := tree(t, dir)
	for _, left := range []func(path string) error{
		func(path string) error { return unix.Unmount(path, 0) },
		func(path string) error { return errors.Join(unix.Unmount(path, 0), os.Chmod(path, 0)) }, // as by ip-netns(8)
	} {
		pinned(t, other, dir+"/set")
		if err := errors.Join(other.PinNS(Net, dir+"/blue"), left(dir+"/blue"), left(dir+"/set/net"), left(dir+"/set/uts")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Pin(dir+"/set"), s.PinNS(Net, dir+"/blue")); err != nil {
			t.Fatal(err)
		}
		if o := owned(t)(FromDir(dir + "/set")); o.String() != s.String() {
			t.Errorf("%v, want %v", o, s)
		}
		if o := owned(t)(Open(dir + "/blue")); idOf(t, o, Net) != idOf(t, s, Net) {
			t.Errorf("%v, want %v", o, s)
		}
		if err := Unpin(dir+"/set", dir+"/blue"); err != nil {
			t.Error(err)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("left\n%swant\n%s", after, before)
		}
	}
}

// What only looks like a file that is left is somebody's.
func TestUnpinCannotRemoveWhatIsNotLeft(t *testing.T) {
	testenv.Leaks(t)
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/filled", []byte("x"), 0o600), os.Symlink("empty", dir+"/link"), os.WriteFile(dir+"/empty", nil, 0o600),
		os.Mkdir(dir+"/dir", 0o700), os.WriteFile(dir+"/dir/other", nil, 0o600), unix.Mkfifo(dir+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for _, path := range []string{dir + "/filled", dir + "/link", dir + "/dir", dir + "/fifo", "/proc/self/status", "/sys/kernel/uevent_seqnum"} {
		wantError(t, path, Unpin(path), ErrNotNamespace, "unpin", path)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("left\n%swant\n%s", after, before)
	}
	if err := Unpin(dir + "/empty"); err != nil { // without privileges
		t.Error(err)
	}
	if _, err := os.Lstat(dir + "/empty"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}

	// Somebody is pinning on it.
	if err := os.WriteFile(dir+"/busy", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir + "/busy")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wantError(t, "locked", Unpin(dir+"/busy"), unix.EBUSY, "unpin", dir+"/busy")
}
