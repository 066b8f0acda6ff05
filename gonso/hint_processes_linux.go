package gonso

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// launchHint is for causes that keep the launcher from being started.
func launchHint(err error) string {
	if hint := procHint(err); hint != "" {
		return hint
	}
	if hint := fileHint(err); hint != "" {
		return hint
	}
	switch {
	case errors.Is(err, errCreateSlow):
		return "possibly somebody inside has stopped the helper process, or traces it"
	case errors.Is(err, syscall.EPERM) && (errors.As(err, new(*launcher.StartError)) || ofProcRoot(err)) && filtered():
		return "possibly " + seccompIsActive
	case !errors.Is(err, syscall.EAGAIN):
		return ""
	}
	return processHint(gatherProcessLimits())
}

// ofProcRoot: a call about /proc itself failed, which may be one.
func ofProcRoot(err error) bool {
	pe, ok := errors.AsType[*fs.PathError](err)
	return ok && pe.Path == "/proc" // path: of an error
}

func gatherProcessLimits() *processLimits {
	p := &processLimits{uid: uint32(unix.Getuid())}
	var r unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &r) == nil && r.Cur != unix.RLIM_INFINITY {
		p.limit, p.known = r.Cur, true
	}
	// kernel/fork.c. Only capabilities and uid 0 of the initial user namespace count there.
	caps, err := sys.ThreadCaps()
	if err == nil && inTopmost() {
		p.exempt = p.uid == 0 || caps.Effective.Has(unix.CAP_SYS_RESOURCE) || caps.Effective.Has(unix.CAP_SYS_ADMIN)
	}
	if p.limited() {
		p.have = countTasks(p.uid)
	}
	p.findFullCgroup()
	return p
}

// countTasks counts the visible threads of a real uid.
func countTasks(uid uint32) (n uint64) {
	names, _ := procfs.Names(".")
	want := strconv.FormatUint(uint64(uid), 10)
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		status, err := procfs.ReadFile(name+"/status", maxEvidence)
		if err != nil {
			continue
		}
		var threads uint64
		mine := false
		for line := range strings.Lines(status) {
			switch f := strings.Fields(line); {
			case len(f) > 1 && f[0] == "Uid:":
				mine = f[1] == want
			case len(f) > 1 && f[0] == "Threads:":
				threads, _ = strconv.ParseUint(f[1], 10, 32)
			}
		}
		if mine {
			n += threads
		}
	}
	return n
}

// findFullCgroup looks for a full cgroup: one of this process or above it, which takes no more
// processes. It assumes the usual mount points of cgroups.
func (p *processLimits) findFullCgroup() {
	own, err := procfs.ReadFile("self/cgroup", maxEvidence)
	if err != nil {
		return
	}
	for line := range strings.Lines(own) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		top := "/sys/fs/cgroup"
		switch {
		case id == "0" && controllers == "":
		case controllers == "pids":
			top += "/pids"
		default:
			continue
		}
		for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
			most, current := readCount(top+path+"/pids.max"), readCount(top+path+"/pids.current")
			if most != math.MaxUint64 && current != math.MaxUint64 && current >= most {
				p.cgroup, p.cgroupMax, p.inside = path, most, current
				return
			}
			if path == "/" {
				break
			}
		}
	}
}

// readCount returns the number in a file, or the greatest number if the file has none.
func readCount(path string) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}
