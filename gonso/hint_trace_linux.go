package gonso

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// withTraceHint says why the namespaces of a process could not be looked at.
func withTraceHint(err error, d *procfs.Dir) error {
	var e *Error
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) || !errors.As(err, &e) {
		return err
	}
	e.Hint = traceHint(gatherTrace(d))
	return err
}

// withTraceHintFor is withTraceHint for a path that may be in /proc/PID/ns.
func withTraceHintFor(err error, path string) error {
	rest, ok := strings.CutPrefix(path, "/proc/") // path: what the caller has passed
	id, below, _ := strings.Cut(rest, "/")
	pid, perr := strconv.Atoi(id)
	if err == nil || !ok || perr != nil || below != "ns" && !strings.HasPrefix(below, "ns/") {
		return err
	}
	d, perr := procfs.Process(pid)
	if perr != nil {
		return withHiddenProcess(err, pid)
	}
	defer d.Close()
	return withHiddenProcess(withTraceHint(err, d), pid)
}

func gatherTrace(d *procfs.Dir) *traceEvidence {
	ev := &traceEvidence{pid: d.ID, euid: uint32(os.Geteuid()), egid: uint32(os.Getegid())}
	if caps, err := sys.ThreadCaps(); err == nil {
		ev.caps, ev.capsKnown = capSet(caps.Effective), true
	}
	status, err := d.ReadFile("status", maxEvidence)
	if err != nil {
		if mounts, merr := threadMounts(); merr == nil {
			ev.hidden = procOption(mounts, "hidepid")
		}
		return ev
	}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "Uid" && len(f) == 4:
			ev.uids = numbers(f[:3])
		case key == "Gid" && len(f) == 4:
			ev.gids = numbers(f[:3])
		case key == "CapPrm" && len(f) == 1:
			n, err := strconv.ParseUint(f[0], 16, 64)
			ev.permitted, ev.known = capSet(n), err == nil
		}
	}
	return ev
}

func numbers(fields []string) (ns []uint32) {
	for _, f := range fields {
		if n, err := strconv.ParseUint(f, 10, 32); err == nil {
			ns = append(ns, uint32(n))
		}
	}
	return ns
}
