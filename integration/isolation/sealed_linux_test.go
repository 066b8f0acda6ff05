package isolation

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func owner(t *testing.T, pid int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/mem", pid), &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

func workerIn(t *testing.T, s *gonso.Set) int {
	t.Helper()
	p, err := pid.Do(t.Context(), s, struct{}{}, gonso.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	if p == os.Getpid() {
		t.Fatal("it runs here")
	}
	return p
}

// CVE-2019-5736: root inside overwrites the host's binary by /proc/PID/exe of
// what was started in there. Where the namespaces came from outside that is a
// copy in memory, sealed against writing, of a mode that makes the kernel keep
// the process undumpable where its owner is not mapped.
func TestRootInsideCannotOverwriteTheBinary(t *testing.T) {
	needUserNS(t)
	var opts []gonso.UnshareOption
	inside, root := uint32(os.Geteuid()), os.Geteuid() == 0
	if root {
		inside = firstHost
		ids := []gonso.IDMap{{ContainerID: 0, HostID: firstHost, Size: 65536}}
		opts = append(opts, gonso.IDMaps(ids, ids))
	}
	// Somebody else's namespaces: found by way of a process in them.
	theirs, err := gonso.Unshare(gonso.User|gonso.Mount, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	member := workerIn(t, theirs)

	opened, err := gonso.FromPID(member, gonso.User|gonso.Mount)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	// This test binary may be built with cgo.
	if err := opened.SetWorker(gonso.Worker{DynamicLoader: true}); err != nil {
		t.Fatal(err)
	}
	worker := workerIn(t, opened)

	if owner(t, member) != inside {
		t.Errorf("a worker in namespaces of our own making belongs to %d, not %d", owner(t, member), inside)
	}
	if !root {
		// Rootless, its owner is mapped inside: it counts as exposed. The binary
		// is nevertheless a copy.
		checkSealed(t, worker)
		return
	}
	// Of undumpable processes /proc/PID belongs to root, see proc(5).
	if u := owner(t, worker); u != 0 {
		t.Errorf("it is dumpable: /proc/%d/mem belongs to %d", worker, u)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker))
	if want := fmt.Sprintf("\nUid:\t%d\t%d\t%d\t%d\n", inside, inside, inside, inside); err != nil || !bytes.Contains(status, []byte(want)) {
		t.Errorf("it does not run as root inside: %v\n%s", err, status)
	}
	checkSealed(t, worker)
}

func checkSealed(t *testing.T, worker int) {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/exe", worker)
	exe, err := os.Readlink(path)
	if err != nil || !strings.HasPrefix(exe, "/memfd:gonso-worker") {
		t.Errorf("it executes %s, %v", exe, err)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		if os.Geteuid() != 0 && os.IsPermission(err) {
			return // of mode 0111; its seals are looked at as root
		}
		t.Fatal(err)
	}
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL; err != nil || seals&want != want {
		t.Errorf("seals %#x, %v", seals, err)
	}
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o111 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}
