package isolation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// visit is what testdata/visitor prints.
type visit struct{ Says, Err string }

// visitor builds testdata/visitor to where the plain user gets, with cgo or without.
func visitor(t *testing.T, cgo bool) string {
	t.Helper()
	needBuild(t)
	dir, err := os.MkdirTemp("/tmp", "gonso-visitor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "visitor")
	if !cgo {
		build(t, "visitor", path)
		return path
	}
	needCgo(t)
	asDynamic.build(t, "visitor", path)
	return path
}

// visited has the visitor, started by who made the box, enter the box.
func (b *box) visited(t *testing.T, path string, types gonso.Type, way string, rest ...string) visit {
	t.Helper()
	return b.visit(t, os.Environ(), path, types, way, rest...)
}

func (b *box) visit(t *testing.T, env []string, path string, types gonso.Type, way string, rest ...string) visit {
	t.Helper()
	c := exec.Command(path, append([]string{strconv.Itoa(b.pid), strconv.Itoa(int(types)), way}, rest...)...)
	c.Env = append(env[:len(env):len(env)], "SECRET=visitor-secret")
	if b.kind == plain {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}}
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", way, err, out, &errs)
	}
	var v visit
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("%s: %v: %s", way, err, out)
	}
	return v
}

// inside are the types that a box has of its own.
func (b *box) inside() gonso.Type {
	types := gonso.Mount | gonso.Net | gonso.UTS | gonso.IPC
	if b.kind == uns || b.kind == hostpid || b.kind == plain {
		types |= gonso.User
	}
	if b.kind != hostpid {
		types |= gonso.PID
	}
	return types
}

// magic is how binfmt_misc is told of bytes.
func magic(header []byte) string {
	var m strings.Builder
	for _, b := range header {
		fmt.Fprintf(&m, `\x%02x`, b)
	}
	return m.String()
}

// Since Linux 6.7 each user namespace has interpreters of its own, for files of any format:
// binfmt_misc (fs/binfmt_misc.c, load_binfmt_misc). Root inside registers one that takes our
// program for its own, and it ran in the place of what was to be started. The kernel refuses that for what is
// executed by a descriptor that exec closes (BINPRM_FLAGS_PATH_INACCESSIBLE), so there
// must not be another try by path.
func TestRootInsideCannotInterpretWhatWeExecute(t *testing.T) {
	path := visitor(t, false)
	header := make([]byte, 64)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Read(header)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range some(uns, hostpid, plain) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			need(t, "binfmt_misc", b.exec("/bin/sh", "-c", "mkdir -p /work/misc && mount -t binfmt_misc none /work/misc").Run())
			// It says what a worker would not, and keeps what it got.
			b.sh(t, `cat >/work/interpreter <<'END'
#!/bin/sh
echo "interpreted: $0 $*" >>/work/ran
cat /proc/self/environ >>/work/ran
echo hijacked
END
/bin/busybox chmod 755 /work/interpreter; : >/work/ran; /bin/busybox chmod 666 /work/ran`)
			for _, flags := range []string{"", "F", "P", "O", "C", "OCF"} {
				b.sh(t, fmt.Sprintf(`cat >/work/misc/register <<'END'
:ours:M:0:%s::/work/interpreter:%s
END`, magic(header), flags))
				for _, types := range []gonso.Type{b.inside(), b.inside() &^ (gonso.PID | gonso.Mount), gonso.User} {
					for _, way := range []string{"worker", "isolated", "helper", "self", "exe", "keeping ids"} {
						if way == "keeping ids" && k != plain { // this user's are not mapped there, which is refused
							continue
						}
						what := fmt.Sprintf("flags %q, %v, %s", flags, types, way)
						v := b.visited(t, path, types, way, path)
						if ran := b.sh(t, "cat /work/ran; : >/work/ran"); ran != "" || strings.Contains(v.Says, "hijacked") {
							t.Errorf("%s: the interpreter ran: %.300q; %+v", what, ran, v)
						}
						if strings.HasPrefix(v.Says, "visitor ") {
							t.Errorf("%s: it ran although there is an interpreter for it: %+v", what, v)
						}
						if !strings.Contains(v.Err, "binfmt_misc") {
							t.Errorf("%s: the error does not name the cause: %+v", what, v)
						}
					}
				}
				b.sh(t, "echo -1 >/work/misc/ours")
			}
			// And without, it does.
			if v := b.visited(t, path, b.inside(), "worker"); !strings.HasPrefix(v.Says, "visitor ") {
				t.Errorf("without an interpreter: %+v", v)
			}
		})
	}
}

// Without a foreign mnt namespace the host's programs are found by name, as with nsenter -U -n. An
// interpreter of theirs would run in the host's mounts: it is opened when it is registered (flag F).
func TestRootInsideCannotInterpretTheHostsPrograms(t *testing.T) {
	path := visitor(t, false)
	busybox, err := exec.LookPath("busybox")
	need(t, "tools", err)
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	// Different from the one inside in a byte that nobody reads: root inside interprets all but his own.
	b[15] = 1
	dir := filepath.Dir(path)
	program, script := filepath.Join(dir, "sh"), filepath.Join(dir, "script")
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!"+program+"\necho host\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "interpreter")
	build(t, "loader", theirs)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, k := range some(uns, hostpid, plain) {
		t.Run(string(k), func(t *testing.T) {
			box := newBox(t, k)
			need(t, "binfmt_misc", box.exec("/bin/sh", "-c", "mkdir -p /work/misc && mount -t binfmt_misc none /work/misc").Run())
			box.put(t, theirs, "/work/interpreter")
			for _, types := range []gonso.Type{gonso.User, gonso.User | gonso.Net, gonso.User | gonso.Net | gonso.UTS | gonso.IPC} {
				for _, name := range []string{"sh", program} {
					if v := box.visited(t, path, types, "command", name, "-c", "echo host"); v.Says != "host\n" {
						t.Errorf("%v, %s, without an interpreter: %+v", types, name, v)
					}
				}
				if v := box.visited(t, path, types, "command", "no-such-program"); !strings.Contains(v.Err, "executable file not found in $PATH") {
					t.Errorf("%v: %+v", types, v)
				}
				if v := box.visited(t, path, types, "command", script); v.Says != "" || !strings.Contains(v.Err, "script") {
					t.Errorf("%v: a script, whose interpreter could be theirs: %+v", types, v)
				}
			}
			for _, flags := range []string{"F", "FP", "OCF"} {
				box.sh(t, fmt.Sprintf(`cat >/work/misc/register <<'END'
:ours:M:0:%s::/work/interpreter:%s
END`, magic(b[:16]), flags))
				for _, types := range []gonso.Type{gonso.User, gonso.User | gonso.Net} {
					for _, name := range []string{"sh", program, script} {
						v := box.visited(t, path, types, "command", name, "-c", "echo host")
						if v.Says != "" || !strings.Contains(v.Err, "binfmt_misc") {
							t.Errorf("%q, %v, %s: something ran: %+v", flags, types, name, v)
						}
					}
				}
				box.sh(t, "echo -1 >/work/misc/ours")
			}
		})
	}
}

var (
	_ = testenv.Long(TestRootInsideCannotInterpretTheHostsPrograms)
	_ = testenv.Long(TestRootInsideCannotInterpretWhatWeExecute)
)
