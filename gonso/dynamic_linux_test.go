package gonso_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// seen is what a function finds around it.
type seen struct {
	PID, TID  int
	Mnt       string // of its thread
	Root      []string
	Dir       string
	Arguments []string
}

func look(context.Context, struct{}) (seen, error) {
	at, _ := os.Readlink("/proc/thread-self/ns/mnt") // there is no /proc in the new root
	root, err := os.ReadDir("/")
	s := seen{PID: os.Getpid(), TID: unix.Gettid(), Mnt: at, Arguments: os.Args}
	for _, e := range root {
		s.Root = append(s.Root, e.Name())
	}
	dir, derr := os.Getwd()
	s.Dir = dir
	return s, errors.Join(err, derr)
}

var (
	looks           = gonso.Register("dynamic.look", look)
	looksClean      = gonso.Register("dynamic.look.clean", look, gonso.LeavesThreadClean())
	looksGoroutines = gonso.Register("dynamic.look.goroutines", look, gonso.StartsGoroutines())

	// pivot makes an empty root with a marker that of its mount namespace.
	pivot = gonso.Register("dynamic.pivot", func(_ context.Context, dir string) (struct{}, error) {
		steps := []struct {
			what string
			do   func() error
		}{
			{"mount", func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755") }},
			{"mkdir", func() error { return os.Mkdir(dir+"/old", 0o755) }},
			{"mkdir", func() error { return os.Mkdir(dir+"/inside", 0o755) }},
			{"pivot_root", func() error { return unix.PivotRoot(dir, dir+"/old") }},
			{"chdir", func() error { return os.Chdir("/") }},
			{"umount", func() error { return unix.Unmount("/old", unix.MNT_DETACH) }},
			{"rmdir", func() error { return os.Remove("/old") }},
		}
		for _, s := range steps {
			if err := s.do(); err != nil {
				return struct{}{}, fmt.Errorf("%s: %w", s.what, err)
			}
		}
		return struct{}{}, nil
	})
)

// isDynamic reports whether this test binary needs a loader.
func isDynamic(t *testing.T) bool {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// foreignRoot is a Set whose mount namespace has nothing but a directory.
func foreignRoot(t *testing.T, types gonso.Type) *gonso.Set {
	t.Helper()
	s := newSet(t, types)
	call(t, pivot, s, t.TempDir(), gonso.Isolated())
	return s
}

// opencontainers/runc#4243: a dynamically linked program finds no loader in a
// foreign root. Its functions run there all the same, but those that start
// goroutines, and these say how to.
func TestDynamicProgramCannotBeKeptOut(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	dynamic := isDynamic(t)
	types := []gonso.Type{gonso.User | gonso.Mount, gonso.User | gonso.Mount | gonso.PID}
	if testenv.Has(testenv.Root) {
		types = append(types, gonso.Mount, gonso.Mount|gonso.UTS)
	}
	for _, typ := range types {
		t.Run(typ.String(), func(t *testing.T) {
			own := foreignRoot(t, typ)
			defer own.Close()
			f, err := own.File(gonso.Mount)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// The same as somebody else's, so from a sealed copy.
			mnt, err := gonso.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			defer mnt.Close()
			opened, err := own.With(mnt)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			setWorker(t, opened, gonso.Worker{DynamicLoader: true})
			for name, s := range map[string]*gonso.Set{"own": own, "opened": opened} {
				checkInside(t, name, s, dynamic)
			}
		})
	}
}

func checkInside(t *testing.T, name string, s *gonso.Set, dynamic bool) {
	t.Helper()
	first := call(t, looks, s, struct{}{})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			f := looks
			if i%2 == 0 {
				f = looksClean
			}
			got, err := f.Do(t.Context(), s, struct{}{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if !slices.Equal(got.Root, []string{"inside"}) || got.Dir != "/" || got.PID != first.PID {
				t.Errorf("%s: it sees %+v, the first %+v", name, got, first)
			}
			if len(got.Arguments) != 1 {
				t.Errorf("%s: main sees the arguments %q", name, got.Arguments)
			}
		})
	}
	wg.Wait()
	got, err := looksGoroutines.Do(t.Context(), s, struct{}{})
	if !dynamic {
		if err != nil || !slices.Equal(got.Root, []string{"inside"}) {
			t.Errorf("%s: static, with goroutines: %+v, %v", name, got, err)
		}
		return
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("%s: with goroutines: %+v, %v", name, got, err)
	}
	for _, words := range []string{"dynamically linked", "CGO_ENABLED=0", "Worker.Path", "dynamic.look.goroutines"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: no %q in: %v", name, words, err)
		}
	}
	if got := call(t, looks, s, struct{}{}, gonso.Isolated()); !slices.Equal(got.Root, []string{"inside"}) {
		t.Errorf("%s: isolated: %+v", name, got)
	}
}

// The working directory is one inside on that way, too.
func TestDynamicProgramHasItsWorkingDirectoryInside(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	for dir, want := range map[string]error{"/inside": nil, "/etc": unix.ENOENT} {
		s := newSet(t, gonso.User|gonso.Mount)
		d := dup(t, s)
		setWorker(t, d, gonso.Worker{Dir: dir})
		call(t, pivot, s, t.TempDir(), gonso.Isolated())
		got, err := looks.Do(t.Context(), d, struct{}{})
		if want == nil && (err != nil || got.Dir != dir) || want != nil && (!errors.Is(err, want) || !strings.Contains(err.Error(), dir)) {
			t.Errorf("%s: %+v, %v", dir, got, err)
		}
	}
}

// A copy of this program's mount namespace has the loader: nothing is different.
func TestDynamicProgramRunsInCopiesOfTheHostsMounts(t *testing.T) {
	s := newSet(t, gonso.User|gonso.Mount)
	got := call(t, looksGoroutines, s, struct{}{})
	if id, err := s.ID(gonso.Mount); err != nil || got.Mnt != id.String() {
		t.Errorf("it is in %s, %v", got.Mnt, err)
	}
	if at, err := testenv.NSLink(got.PID, 0, "mnt"); err != nil || at != got.Mnt {
		t.Errorf("the process is in %s, %v", at, err)
	}
}
