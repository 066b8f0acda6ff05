package reexec

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// Workers are started on a thread that lasts as long as this program. What a worker is, it
// gets SIGKILL when the thread that has started it ends (PR_SET_PDEATHSIG), however this
// program ends, and whatever the worker waits for or is stopped by. Any other thread may
// end while the program goes on: gonso ends threads itself.
var lasting struct {
	sync.Once
	work chan func()
}

// onLastingThread runs f there.
func onLastingThread(f func()) {
	lasting.Do(func() {
		lasting.work = make(chan func())
		go lastingThread(0)
	})
	done := make(chan struct{})
	lasting.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Settle has the calling thread enter the namespaces of this program, as far as it is not there. Package
// gonso sets it: threads of the pool may have been left elsewhere.
var Settle = func() error { return nil }

// settleTries bounds how many threads are tried that cannot be settled.
const settleTries = 64

func lastingThread(tries int) {
	runtime.LockOSThread()
	main := unix.Gettid() == os.Getpid() // which is others' as well
	if main || tries < settleTries && Settle() != nil {
		started := make(chan struct{})
		go func() {
			close(started)
			lastingThread(tries + 1)
		}()
		<-started
		if main {
			runtime.UnlockOSThread()
		}
		return
	}
	lastingIdentity = threadIdentity()
	for f := range lasting.work {
		f()
	}
}

// lastingIdentity is set before anything runs on that thread.
var lastingIdentity string

// likeLastingThread reports whether the calling thread is in the same namespaces, and may do
// the same, as the one that lasts: then it makes no difference which of them starts a process.
func likeLastingThread() (same bool) {
	me := threadIdentity()
	onLastingThread(func() { same = me != "" && me == lastingIdentity })
	return same
}

// threadIdentity is what a process inherits from the calling thread, or "" if that is not known.
func threadIdentity() string {
	runtime.LockOSThread() // another thread may be another one's
	defer runtime.UnlockOSThread()
	d, err := procfs.Thread()
	if err != nil {
		return ""
	}
	defer d.Close()
	var b strings.Builder
	for _, link := range []string{
		"root", "cwd", "ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid_for_children", "ns/time_for_children", "ns/user", "ns/uts",
	} {
		target, err := d.Readlink(link)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		b.WriteString(target + "\n")
	}
	may, err := d.Privileges()
	if err != nil {
		return ""
	}
	return b.String() + may
}
