package isolation

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// Whatever root inside does to keep us waiting, every call returns within its context, the grace
// period and a second, and nothing is left once root inside is gone. As of reports about peers:
// opencontainers/runc#2753 and #3166 (a frozen cgroup), containerd#5502 (a file system that does not
// answer keeps the shim).

// took is what testdata/waiter says of a call.
type took struct {
	Call  string
	Took  time.Duration
	Err   string
	Hung  string
	Bound string
	Left  []string
}

// bounds of calls. Those that take no context have createTimeout of their own.
var bounds = map[string]time.Duration{"ctx": 3 * time.Second, "Close": 2 * time.Second, "own": 13 * time.Second}

// oneOf is the nth of kinds, and all where tests run at full length.
func oneOf(n int, kinds []kind) []kind {
	if testenv.Full() {
		return kinds
	}
	return kinds[n%len(kinds):][:1]
}

// waiting is a box, and a program that works in it.
type waiting struct {
	*box
	t       *testing.T
	program string // of the waiter
	calls   []took
}

// waits are the programs of a test.
type waits struct{ dir string }

func newWaits(t *testing.T) waits {
	needRoot(t)
	needBuild(t)
	ws := waits{hostDir(t)}
	build(t, "waiter", filepath.Join(ws.dir, "waiter"))
	build(t, "inside", filepath.Join(ws.dir, "inside"))
	return ws
}

// in runs a test in each kind of box. What root inside runs is in it, and its device cgroup lets it open
// what there is.
func (ws waits) in(t *testing.T, kinds []kind, f func(t *testing.T, w *waiting)) {
	for _, k := range kinds {
		t.Run(string(k), func(t *testing.T) {
			b := newBoxWith(t, k, func(config map[string]any) {
				type object = map[string]any
				if k != plain {
					config["linux"].(object)["resources"] = object{"devices": []object{{"allow": true, "access": "rwm"}}}
				}
			})
			b.put(t, filepath.Join(ws.dir, "inside"), "/bin/inside")
			f(t, &waiting{box: b, t: t, program: filepath.Join(ws.dir, "waiter")})
		})
	}
}

// start starts the waiter, with Sets of some types or, with 0, of all that the box has.
func (w *waiting) start(types gonso.Type, what string, args ...string) *dialogue {
	w.t.Helper()
	if types == 0 {
		types = w.inside()
	}
	c := exec.Command(w.program, append([]string{fmt.Sprint(w.pid), fmt.Sprint(int(types)), what}, args...)...)
	// What others mount meanwhile is none of its doing.
	c.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(w.program))
	if w.kind == plain {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}}
	}
	d := startDialogue(w.t, c)
	if s := d.hear(w.t); s != "ready" {
		w.t.Fatalf("the waiter says %q\n%s", s, d.stderr.String())
	}
	return d
}

// attack starts root inside with an attack, which ends with the test or by what it returns.
func (w *waiting) attack(args ...string) (d *dialogue, end func() string) {
	w.t.Helper()
	d = startDialogue(w.t, w.exec(append([]string{"/bin/inside"}, args...)...))
	if s := d.hear(w.t); s != "ready" && s != "mounted" {
		w.t.Fatalf("root inside says %q", s)
	}
	return d, func() string {
		d.in.Close()
		rest, _ := io.ReadAll(d.out)
		return string(rest)
	}
}

// called has the waiter make its calls, and checks them.
func (w *waiting) called(d *dialogue) {
	w.t.Helper()
	d.say(w.t, "go")
	for {
		line := w.hear(d)
		if line == "called" {
			break
		}
		w.check(line)
	}
	if len(w.calls) == 0 {
		w.t.Error("no calls")
	}
}

// hear is bounded.
func (w *waiting) hear(d *dialogue) string {
	w.t.Helper()
	type heard struct {
		line string
		err  error
	}
	c := make(chan heard, 1)
	go func() {
		line, err := d.out.ReadString('\n')
		c <- heard{line, err}
	}()
	select {
	case h := <-c:
		if h.err != nil {
			w.t.Fatalf("%v after %q\n%s", h.err, h.line, d.stderr.String())
		}
		return strings.TrimSpace(h.line)
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("the waiter says nothing")
		return ""
	}
}

func (w *waiting) check(line string) took {
	w.t.Helper()
	var c took
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		w.t.Fatalf("%v: %s", err, line)
	}
	w.calls = append(w.calls, c)
	w.t.Logf("%-40s %6d ms %.300s", c.Call, c.Took.Milliseconds(), c.Err)
	switch bound := testenv.Bound(bounds[c.Bound]); {
	case c.Hung != "":
		w.t.Errorf("%s has not returned:\n%s", c.Call, c.Hung)
	case c.Bound != "" && c.Took > bound:
		w.t.Errorf("%s took %v, more than %v: %s", c.Call, c.Took, bound, c.Err)
	}
	return c
}

// over has the waiter look at what is left, when root inside has ended.
func (w *waiting) over(d *dialogue) {
	w.t.Helper()
	d.say(w.t, "over")
	w.check(w.hear(d))
	if c := w.check(w.hear(d)); c.Call != "left" || len(c.Left) > 0 {
		w.t.Errorf("left behind: %s", strings.Join(c.Left, "\n"))
	}
	if err := d.Wait(); err != nil {
		w.t.Errorf("%v\n%s", err, d.stderr.String())
	}
}

// failed are the calls that came to nothing: of an attack that no call felt nothing is learnt.
func (w *waiting) failed() (n int) {
	for _, c := range w.calls {
		if c.Err != "" {
			n++
		}
	}
	return n
}

// What is there already is stopped, or traced.
func TestRootInsideCannotKeepUsWaitingByHoldingProcesses(t *testing.T) {
	ws := newWaits(t)
	n := 0
	for i, how := range []string{"stop", "seize", "seize and stop"} {
		for j, what := range []string{"worker", "command", "init"} {
			if i != j && !testenv.Full() { // each of both once
				continue
			}
			kinds := []kind{uns, plain, nouns, ptr}
			switch {
			case how == "stop":
			case what == "command":
				kinds = []kind{uns, plain, ptr}
			case what == "worker": // nobody else may trace what is not dumpable
				kinds = []kind{plain, ptr}
			default:
				kinds = []kind{ptr}
			}
			if n++; n%2 == 0 && !testenv.Full() {
				continue
			}
			t.Run(how+"/"+what, func(t *testing.T) {
				ws.in(t, oneOf(n, kinds), func(t *testing.T, w *waiting) {
					a, end := w.attack("harass", how)
					d := w.start(0, what)
					a.say(t, "go")
					if s := w.hear(a); s != "caught" {
						t.Fatalf("root inside says %q", s)
					}
					w.called(d)
					t.Log(end())
					w.over(d)
					if w.failed() == 0 {
						t.Error("no call has noticed")
					}
				})
			})
		}
	}
}

// What is on its way is stopped, traced or killed, too.
func TestRootInsideCannotKeepUsWaitingByHoldingWhatComes(t *testing.T) {
	ws := newWaits(t)
	n := 0
	for i, how := range []string{"stop", "seize and stop", "kill", "seize"} {
		for j, what := range []string{"cold", "all"} {
			if i%2 != j && !testenv.Full() {
				continue
			}
			kinds := []kind{plain, ptr, uns, hostpid, nouns}
			if strings.HasPrefix(how, "seize") {
				kinds = kinds[:4] // without the capability, root may not trace who has more of them
			}
			// Each way and each thing comes, and not every pair.
			if n++; n%4 > 1 && !testenv.Full() {
				continue
			}
			t.Run(how+"/"+what, func(t *testing.T) {
				ws.in(t, oneOf(n, kinds), func(t *testing.T, w *waiting) {
					a, end := w.attack("harass", how)
					d := w.start(0, what)
					a.say(t, "go")
					w.called(d)
					caught := end()
					t.Log(caught)
					w.over(d)
					if !strings.Contains(caught, "caught\n") {
						t.Error("root inside has caught nobody")
					}
				})
			})
		}
	}
}

// fuses are file systems that root inside mounts, by what they answer.
var fuses = map[string]testenv.Answers{
	"nothing":             0,
	"names":               testenv.Lookups,
	"names, and checked":  testenv.Lookups | testenv.CheckedHere,
	"all but opening":     testenv.Lookups | testenv.Stats,
	"all but reading":     testenv.Lookups | testenv.Stats | testenv.Opens,
	"all but being ready": testenv.Lookups | testenv.Stats | testenv.Opens | testenv.Reads | testenv.AlsoFlushes,
}

// fuse has root inside mount one, or this process where root inside may not.
func (w *waiting) fuse(where string, answers testenv.Answers) (end func()) {
	w.t.Helper()
	if w.kind == nouns || w.kind == ptr {
		dir := hostDir(w.t)
		end, err := testenv.SilentFSAfter("/dev/fuse", dir, answers)
		need(w.t, "fuse", err)
		w.t.Cleanup(end)
		w.bind(w.t, dir, where)
		return end
	}
	device := w.rootfs + "/work/fuse"
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		w.t.Fatal(err)
	}
	_, ended := w.attack("fuse", where, fmt.Sprint(int(answers)))
	return func() { ended() }
}

// A file system inside does not answer.
func TestRootInsideCannotKeepUsWaitingByFUSE(t *testing.T) {
	ws := newWaits(t)
	n := 0
	for name, answers := range fuses {
		if n++; n > 3 && !testenv.Full() { // others each time
			break
		}
		t.Run(name, func(t *testing.T) {
			ws.in(t, oneOf(n, []kind{plain, nouns, uns, hostpid, ptr}), func(t *testing.T, w *waiting) {
				w.sh(t, "mkdir /silent")
				for types, which := range map[gonso.Type]string{0: "all", gonso.Mount: "mnt"} {
					if types != 0 && w.kind == plain {
						continue // it takes privileges
					}
					t.Run(which, func(t *testing.T) {
						w := &waiting{box: w.box, t: t, program: w.program}
						end := w.fuse("/silent", answers)
						d := w.start(types, "files", "/silent")
						w.called(d)
						end()
						w.over(d)
						if w.failed() == 0 {
							t.Error("no call has noticed")
						}
						os.Remove(w.rootfs + "/work/fuse")
						w.sh(t, "umount /silent 2>/dev/null; true")
					})
				}
			})
		})
	}
}

// What comes back from there cannot be closed.
func TestRootInsideCannotKeepUsWaitingByWhatComesBack(t *testing.T) {
	ws := newWaits(t)
	n := 0
	for name, answers := range map[string]testenv.Answers{
		"no flush":    testenv.Lookups | testenv.Stats | testenv.Opens | testenv.Reads,
		"no stat":     testenv.Lookups | testenv.Opens,
		"not a thing": testenv.Lookups | testenv.Stats | testenv.Opens | testenv.Reads | testenv.AlsoFlushes,
	} {
		n++
		t.Run(name, func(t *testing.T) {
			ws.in(t, oneOf(n, []kind{plain, uns, nouns}), func(t *testing.T, w *waiting) {
				w.sh(t, "mkdir /silent")
				end := w.fuse("/silent", answers)
				d := w.start(0, "given", "/silent")
				w.called(d)
				end()
				w.over(d)
			})
		})
	}
}

// Before main, the Go runtime of a worker reads files below /sys.
func TestRootInsideCannotKeepUsWaitingByTheRuntimesFiles(t *testing.T) {
	ws := newWaits(t)
	for n, where := range []string{"/sys", "/etc", "/proc"} {
		t.Run(where, func(t *testing.T) {
			ws.in(t, oneOf(n, []kind{plain, uns, hostpid}), func(t *testing.T, w *waiting) {
				end := w.fuse(where, 0)
				d := w.start(0, "cold")
				w.called(d)
				end()
				w.over(d)
				if w.failed() == 0 && where != "/etc" {
					t.Error("no call has noticed")
				}
			})
		})
	}
}

// cgroup is a cgroup that root inside may freeze, at /work/cgroup there.
func (w *waiting) cgroup() (dir string) {
	w.t.Helper()
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cgroup.controllers"); err != nil {
		top += "/unified"
	}
	dir, err := os.MkdirTemp(top, "gonso-box-")
	need(w.t, "cgroup2", err)
	w.t.Cleanup(func() {
		os.WriteFile(dir+"/cgroup.freeze", []byte("0"), 0)
		testenv.Eventually(w.t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	err = os.Chown(dir+"/cgroup.freeze", w.uid, w.uid)
	need(w.t, "freezer", err)
	w.sh(w.t, "mkdir /work/cgroup")
	w.bind(w.t, dir, "/work/cgroup")
	return dir
}

// The cgroup that we were told to be in is root's inside to freeze.
func TestRootInsideCannotKeepUsWaitingByFreezing(t *testing.T) {
	ws := newWaits(t)
	for n, how := range []string{"once", "without end"} {
		t.Run(how, func(t *testing.T) {
			ws.in(t, oneOf(n, []kind{uns, nouns, ptr, hostpid}), func(t *testing.T, w *waiting) {
				dir := w.cgroup()
				a, end := w.attack("freeze", "/work/cgroup", how)
				d := w.start(0, "cgroup", dir)
				a.say(t, "freeze")
				if how == "once" {
					if s := w.hear(a); s != "frozen" {
						t.Fatalf("root inside says %q", s)
					}
				}
				w.called(d)
				end()
				w.over(d)
				for _, c := range w.calls {
					if how == "once" && c.Bound == "ctx" && c.Call != "Wait" && c.Call != "a program of the host's" && !strings.Contains(c.Err, "frozen cgroup") {
						t.Errorf("%s does not say so: %s", c.Call, c.Err)
					}
				}
			})
		})
	}
}

var (
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByFUSE)
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByFreezing)
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByHoldingProcesses)
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByHoldingWhatComes)
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByTheRuntimesFiles)
	_ = testenv.Long(TestRootInsideCannotKeepUsWaitingByWhatComesBack)
)
