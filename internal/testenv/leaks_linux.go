package testenv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// snapshot lists the resources that this process has at one moment.
type snapshot struct {
	files      map[string]int // number of descriptors by what they refer to
	goroutines map[string]string
	children   map[int]string
	mounts     map[string]string
}

func take() *snapshot {
	return &snapshot{files: descriptors(), goroutines: goroutines(), children: children(os.Getpid()), mounts: mounts()}
}

// Leftovers is for programs that are no tests. left lists the resources that exist now, and did not
// when Leftovers was called.
func Leftovers() (left func() []string) {
	before := take()
	return func() []string { return before.left(Limit) }
}

// left lists the resources that exist now and did not before. Resources that end by themselves have
// until limit to do so.
func (before *snapshot) left(limit time.Duration) []string {
	var left []string
	pollFor(limit, func() bool {
		// Twice: the second run collects what cleanups of the first run have released.
		runtime.GC()
		runtime.GC()
		now := take()
		left = slices.Concat(before.newFiles(now), before.newGoroutines(now), before.newChildren(now),
			before.newMounts(now), strayThreads())
		return len(left) == 0
	})
	return left
}

// lasting are descriptors that stay once they were needed: the Go runtime's, and those that gonso
// makes once in a process, such as those of the process's own namespaces.
var lasting = func() map[string]bool {
	m := map[string]bool{
		"anon_inode:[eventpoll]":          true,
		"anon_inode:[eventfd]":            true,
		"/memfd:gonso-launcher (deleted)": true,
		"/memfd:gonso-worker (deleted)":   true,
	}
	for _, link := range []string{"exe", "ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid", "ns/time", "ns/user", "ns/uts"} {
		if target, err := os.Readlink("/proc/self/" + link); err == nil {
			m[target] = true
		}
	}
	return m
}()

func descriptors() map[string]int {
	m := make(map[string]int)
	// Not os.ReadDir: the list would have its own descriptor.
	for fd := range maxDescriptor() {
		if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
			m[link]++
		}
	}
	return m
}

func maxDescriptor() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 1024
	}
	n := 0
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			n = max(n, fd+1)
		}
	}
	return n
}

func (before *snapshot) newFiles(now *snapshot) (left []string) {
	for link, n := range now.files {
		old := before.files[link]
		if lasting[link] {
			old = max(old, 1)
		}
		// Pipes and sockets have their inode in the link, so a new one is never an old one.
		if n > old {
			left = append(left, fmt.Sprintf("%d descriptor(s) of %s", n-old, link))
		}
	}
	return left
}

// owned are goroutines of the Go runtime and standard library, and one of gonso's, that stay once
// they were needed.
var owned = []string{"os/signal.loop(", "runtime.ensureSigM", "os/signal.signal_recv(", "runtime/trace.", "testing.(*F).Fuzz",
	"reexec.lastingThread("}

// goroutines gives stacks by number.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	m := make(map[string]string)
	for i, stack := range bytes.Split(buf, []byte("\n\n")) {
		text := string(stack)
		if i == 0 || slices.ContainsFunc(owned, func(o string) bool { return strings.Contains(text, o) }) {
			continue // the first is the caller's goroutine
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(text, "goroutine "), " ")
		m[number] = text
	}
	return m
}

func (before *snapshot) newGoroutines(now *snapshot) (left []string) {
	for number, stack := range now.goroutines {
		if _, ok := before.goroutines[number]; !ok {
			left = append(left, stack)
		}
	}
	return left
}

// ChildrenNamed are the children of a process whose first argument is name.
func ChildrenNamed(parent int, name string) (pids []int) {
	for pid := range children(parent) {
		args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if first, _, _ := strings.Cut(string(args), "\x00"); first == name {
			pids = append(pids, pid)
		}
	}
	return pids
}

// children gives a process's children, zombies too, by their parent's number
// in /proc/PID/stat: the children files of /proc may leave some out.
func children(parent int) map[int]string {
	m := make(map[int]string)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return m
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		head, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			_, comm, _ := strings.Cut(head, "(")
			m[pid] = comm + ", state " + f[0]
		}
	}
	return m
}

func (before *snapshot) newChildren(now *snapshot) (left []string) {
	for pid, what := range now.children {
		if _, ok := before.children[pid]; !ok {
			left = append(left, fmt.Sprintf("child process %d: %s", pid, what))
		}
	}
	return left
}

// mounts gives mount points and propagation by mount id.
func mounts() map[string]string {
	m := make(map[string]string)
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		// id, parent, device, root, mount point, options, optional fields..., "-"
		if f := strings.Fields(line); len(f) > 6 {
			optional := f[6:]
			if i := slices.Index(optional, "-"); i >= 0 {
				optional = optional[:i]
			}
			m[f[0]] = strings.Join(append([]string{f[4]}, optional...), " ")
		}
	}
	return m
}

func (before *snapshot) newMounts(now *snapshot) (left []string) {
	// Outside of TMPDIR, somebody else may have made a mount, unless this run is a controlled one:
	// it promises what the environment has.
	controlled := os.Getenv("GONSO_TEST_REQUIRE") != ""
	tmp := filepath.Clean(os.TempDir())
	for id, at := range now.mounts {
		old, was := before.mounts[id]
		if old == at || !controlled && !strings.HasPrefix(at, tmp) {
			continue
		}
		if was {
			left = append(left, fmt.Sprintf("mount %s, which was %q and is %q", id, old, at))
		} else {
			left = append(left, fmt.Sprintf("mount %s at %s", id, at))
		}
	}
	return left
}

// strayThreads lists threads that are not in the namespaces that this process was in at its start.
func strayThreads() (left []string) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for _, l := range links {
			at, err := NSLink(os.Getpid(), tid, l)
			switch {
			case home[l] == "":
			case err == nil && at != home[l]:
				left = append(left, fmt.Sprintf("thread %d in %s, home is %s", tid, at, home[l]))
			case err != nil && unix.Tgkill(os.Getpid(), tid, 0) == nil:
				// It has no namespaces any more, but still exists: so does the main thread after
				// its end.
				left = append(left, fmt.Sprintf("thread %d without namespaces: %v", tid, err))
			}
		}
	}
	return left
}
