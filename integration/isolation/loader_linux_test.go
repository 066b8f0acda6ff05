package isolation

import (
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// interpreterOf is the loader that a dynamically linked program names.
func interpreterOf(t *testing.T, path string) string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			return strings.TrimRight(string(b), "\x00")
		}
	}
	need(t, "cgo", errors.New("the program is static all the same"))
	return ""
}

// What opencontainers/runc#4243 is about makes a worse thing where root inside is hostile: a
// dynamically linked program runs the loader that it finds there, in the place of any code
// of its own and with all capabilities; and where there is none, the worker stays outside.
func TestRootInsideCannotLendItsLoader(t *testing.T) {
	dynamic := visitor(t, true)
	loader := interpreterOf(t, dynamic)
	theirs := filepath.Join(t.TempDir(), "loader")
	asLoader.build(t, "loader", theirs)
	all := []string{"worker", "isolated", "helper", "keeping ids", "self", "self, keeping ids", "exe", "exe, by path only"}
	for _, k := range some(uns, nouns, plain, hostpid) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			ways := slices.Clone(all)
			if k == uns || k == hostpid { // this user's ids are not mapped there, and to keep them is refused
				ways = slices.DeleteFunc(ways, func(way string) bool { return strings.Contains(way, "keeping ids") })
			}
			b.sh(t, ": >/work/ran; /bin/busybox chmod 666 /work/ran")
			refuses := func(what string) {
				t.Helper()
				for _, way := range ways {
					v := b.visited(t, dynamic, b.inside(), way, dynamic)
					if ran := b.sh(t, "cat /work/ran; : >/work/ran"); ran != "" || v.Says != "" {
						t.Errorf("%s, %s: the loader ran: %q; %+v", what, way, ran, v)
					}
					for _, word := range []string{"CGO_ENABLED=0", "DynamicLoader", "dynamically linked"} {
						if !strings.Contains(v.Err, word) {
							t.Errorf("%s, %s: no %q in %+v", what, way, word, v)
						}
					}
				}
			}
			refuses("without a loader")
			b.sh(t, "mkdir -p "+filepath.Dir(loader))
			b.put(t, theirs, loader)
			refuses("with their loader")
			// Who asks for it gets it, and so this has shown something.
			for _, way := range ways {
				v := b.visit(t, append(os.Environ(), "VISITOR_LOADER=1"), dynamic, b.inside(), way, dynamic)
				if ran := b.sh(t, "cat /work/ran; : >/work/ran"); !strings.HasPrefix(ran, "loader, as ") {
					t.Errorf("asked for, %s: %q, %+v", way, ran, v)
				}
			}
			// A static program, or helper, is none of this.
			static := visitor(t, false)
			for _, way := range ways {
				if v := b.visited(t, static, b.inside(), way, static); !strings.HasPrefix(v.Says, "visitor ") {
					t.Errorf("static, %s: %+v", way, v)
				}
			}
			if v := b.visited(t, dynamic, b.inside(), "helper", static); !strings.HasPrefix(v.Says, "visitor ") {
				t.Errorf("a static helper: %+v", v)
			}
			// With the host's mounts the loader is the host's. In a pid namespace it is not without more.
			types := b.inside() &^ (gonso.Mount | gonso.PID)
			if v := b.visited(t, dynamic, types, "worker"); !strings.HasPrefix(v.Says, "visitor ") {
				t.Errorf("with the host's mounts: %+v", v)
			}
		})
	}
}

var (
	_ = testenv.Long(TestRootInsideCannotLendItsLoader)
)
