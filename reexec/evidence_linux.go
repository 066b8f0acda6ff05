package reexec

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/procfs"
)

// fileID tells files apart.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// fileIDOf returns the fileID of f, or the zero fileID if it is not known.
func fileIDOf(f *os.File) (id fileID) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil {
		id = idOf(&st)
	}
	return id
}

// took reports that a function has executed another program, and that this has ended the
// conversation: exec closes the worker's socket. The process still exists then. Otherwise nothing
// is known.
func (p *process) took() string {
	d, err := procfs.Process(p.proc.Pid)
	if err != nil {
		return ""
	}
	defer d.Close()
	other := ""
	var st unix.Stat_t
	if unix.Fstatat(d.FD(), "exe", &st, 0) == nil {
		if p.exe == (fileID{}) || idOf(&st) == p.exe {
			return ""
		}
		path := make([]byte, unix.PathMax)
		n, _ := unix.Readlinkat(d.FD(), "exe", path)
		other = string(path[:max(n, 0)])
	} else { // a process that is not dumpable shows only this, and nothing else hides the link
		args, _ := d.ReadFile("cmdline", 1<<20)
		other, _, _ = strings.Cut(args, "\x00")
		if other == handshake.Name {
			return ""
		}
	}
	if other == "" {
		return ""
	}
	text, _ := appendEscaped(nil, []byte(other), true)
	return fmt.Sprintf("a function of it executed %s in its place, as execve(2) does; os/exec, or Set.Command, starts another process", text)
}

// why says what is known about a worker's end that this process has not caused.
func (p *process) why(state *os.ProcessState, said said) string {
	ws, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		switch {
		case ok && ws.ExitStatus() == 2 && said.crash != "": // as the Go runtime exits
			return p.limitReached(said.crash)
		case !ok || !p.busy():
		case ws.ExitStatus() == 0:
			return "possibly by os.Exit, or by executing another program in its place, as execve(2) does"
		case said.text == "": // the worker itself, and the Go runtime, would have written why
			return "possibly by os.Exit, or a function of it has closed descriptors that were not its own"
		}
		return ""
	}
	switch ws.Signal() {
	case unix.SIGSYS:
		return "possibly by a seccomp filter"
	case unix.SIGKILL:
	default:
		return ""
	}
	// The limit counts ticks. On a shared machine they add up to more time than is reported here.
	if r, _ := p.rlimit(unix.RLIMIT_CPU); r.Hard < 1<<31 {
		if used := state.UserTime() + state.SystemTime(); used >= time.Duration(r.Hard)*time.Second/2 {
			return fmt.Sprintf("probably by the kernel: it had used %v of processor time, and its hard limit (RLIMIT_CPU) is %d s", used.Round(10*time.Millisecond), r.Hard)
		}
	}
	text := p.oom.since(readOOM(p.owner.opts.Cgroup))
	if text == "" {
		return ""
	}
	if joinsType(p.owner.opts.Join, newPID) {
		text += "; in a pid namespace, that is also how the end of its init looks"
	}
	return text
}
