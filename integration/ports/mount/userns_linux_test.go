package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

var three = []syscall.SysProcIDMap{
	{ContainerID: 1000, HostID: 0, Size: 100},
	{ContainerID: 5000, HostID: 2000, Size: 100},
	{ContainerID: 10000, HostID: 3000, Size: 100},
}

// mapsOf are the maps that the kernel has of a user namespace.
func mapsOf(t *testing.T, f *os.File) (uids, gids []gonso.IDMap) {
	t.Helper()
	s, err := gonso.FromFiles(f)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if uids, gids, err = s.IDMaps(); err != nil {
		t.Error(err)
	}
	return uids, gids
}

// maps are id maps, three numbers each.
func maps(numbers ...uint32) (all []gonso.IDMap) {
	for n := range slices.Chunk(numbers, 3) {
		all = append(all, gonso.IDMap{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return all
}

func TestTheMapsAreThoseThatWereAskedFor(t *testing.T) {
	testenv.Need(t, testenv.Host)
	testenv.Leaks(t)
	other := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 7000, Size: 65536}}
	f, err := getUsernsFD(three, other)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	uids, gids := mapsOf(t, f)
	if want := maps(1000, 0, 100, 5000, 2000, 100, 10000, 3000, 100); !reflect.DeepEqual(uids, want) {
		t.Errorf("%v, want %v", uids, want)
	}
	if want := maps(0, 7000, 65536); !reflect.DeepEqual(gids, want) {
		t.Errorf("%v, want %v", gids, want)
	}
}

func TestPlainUsersMapThemselves(t *testing.T) {
	testenv.Need(t, testenv.Plain, testenv.UserNS)
	testenv.Leaks(t)
	f, err := getUsernsFD([]syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if uids, _ := mapsOf(t, f); !reflect.DeepEqual(uids, maps(0, uint32(os.Getuid()), 1)) {
		t.Errorf("%v", uids)
	}
}

func TestWhatIsNoMapIsRefused(t *testing.T) {
	testenv.Leaks(t)
	good := []syscall.SysProcIDMap{{HostID: 1000, Size: 100}}
	for name, bad := range map[string][]syscall.SysProcIDMap{
		"a negative host id":      {{ContainerID: 0, HostID: -1, Size: 100}},
		"a negative container id": {{ContainerID: -1, HostID: 1000, Size: 100}},
		"a negative size":         {{ContainerID: 0, HostID: 1000, Size: -1}},
		"the first of two":        {{ContainerID: 0, HostID: 1000, Size: -1}, {ContainerID: 100, HostID: 1000, Size: 100}},
		"none":                    nil,
		"lines that overlap":      {{ContainerID: 0, HostID: 1000, Size: 100}, {ContainerID: 50, HostID: 3000, Size: 100}},
	} {
		for i, two := range [][2][]syscall.SysProcIDMap{{bad, good}, {good, bad}} {
			f, err := getUsernsFD(two[0], two[1])
			if err == nil {
				f.Close()
				t.Errorf("%s: no error", name)
			} else if i == 0 {
				t.Logf("%s: %v", name, err)
			}
		}
	}
}

func TestManyAtOnceLeaveNoProcess(t *testing.T) {
	testenv.Need(t, testenv.Host)
	testenv.Leaks(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[gonso.ID]bool)
	var files []*os.File
	for range 20 {
		all.Go(func() {
			f, err := getUsernsFD(three, three)
			if err != nil {
				t.Error(err)
				return
			}
			s, err := gonso.FromFiles(f)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			id, _ := s.ID(gonso.User)
			mu.Lock()
			defer mu.Unlock()
			seen[id], files = true, append(files, f)
		})
	}
	all.Wait()
	if len(seen) != 20 {
		t.Errorf("%d namespaces", len(seen))
	}
	nobody(t, seen)
	for _, f := range files {
		f.Close()
	}
}

// nobody fails the test if a process is in one of the user namespaces.
func nobody(t *testing.T, spaces map[gonso.ID]bool) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		in, _ := os.Readlink(l)
		for id := range spaces {
			if in == id.String() {
				t.Errorf("%s is %s", l, in)
			}
		}
	}
}

// mapped is dir with the ids of a user namespace, mounted at target until the test ends.
func mapped(t *testing.T, dir, target string, attr uint64, f *os.File) {
	t.Helper()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | attr, Propagation: unix.MS_PRIVATE, Userns_fd: uint64(f.Fd()),
	}); err != nil {
		t.Fatal(err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unmount(t, target)
}

// unmount unmounts target when the test ends.
func unmount(t *testing.T, target string) {
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestMountsHaveTheIDsOfTheNamespaceAndOutliveTheFile(t *testing.T) {
	testenv.Need(t, testenv.Host, testenv.Linux(6, 3)) // the first whose tmpfs has mounts with other ids
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	unmount(t, dir)
	for i, m := range three {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, m.ContainerID, m.ContainerID); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, three[0].ContainerID, three[0].ContainerID); err != nil {
		t.Fatal(err)
	}
	for name, attr := range map[string]uint64{"to be written to": 0, "read only": unix.MOUNT_ATTR_RDONLY} {
		t.Run(name, func(t *testing.T) {
			f, err := getUsernsFD(three, three)
			if err != nil {
				t.Fatal(err)
			}
			target := t.TempDir()
			mapped(t, dir, target, attr, f)
			f.Close()
			for i, m := range three {
				fi, err := os.Stat(filepath.Join(target, fmt.Sprint(i)))
				if err != nil {
					t.Fatal(err)
				}
				if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != m.HostID || int(st.Gid) != m.HostID {
					t.Errorf("file %d is of %d:%d", i, st.Uid, st.Gid)
				}
			}
			err = os.WriteFile(filepath.Join(target, "new"), nil, 0o644)
			if attr == 0 && err != nil || attr != 0 && !strings.Contains(fmt.Sprint(err), unix.EROFS.Error()) {
				t.Errorf("%v", err)
			}
		})
	}
}
