package reexec

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// probes find out which calls are forbidden. Each makes a call that has no effect.
var probes = []struct {
	call *launcher.Probe
	of   func(f *forbidden) *bool
}{
	{launcher.ProbeKeyctl, func(f *forbidden) *bool { return &f.keyctl }},
	{launcher.ProbeCloseRange, func(f *forbidden) *bool { return &f.closeRange }},
	{launcher.ProbeExecveat, func(f *forbidden) *bool { return &f.execveat }},
	{launcher.ProbeOpenat2, func(f *forbidden) *bool { return &f.openat2 }},
	{launcher.ProbeClone3, func(f *forbidden) *bool { return &f.clone3 }},
	{launcher.ProbePivotRoot, func(f *forbidden) *bool { return &f.pivotRoot }},
}

// probed has the results so far. The key is the filters that the thread had.
var probed struct {
	sync.Mutex
	known map[string]forbidden
}

// lookAtFilters finds out which calls the filters of the calling thread forbid. Without a filter,
// no call is forbidden. A launcher tries the calls, because a filter may kill the process that
// makes them. If no launcher can be started, the launch that follows reports that.
func lookAtFilters(ctx context.Context) (f forbidden) {
	filters, err := filtersOfThread()
	if err != nil || filters == "" {
		return f
	}
	probed.Lock()
	defer probed.Unlock()
	if f, ok := probed.known[filters]; ok {
		return f
	}
	f, err = probe(ctx)
	if err != nil {
		return forbidden{}
	}
	if probed.known == nil {
		probed.known = make(map[string]forbidden)
	}
	probed.known[filters] = f
	return f
}

// filtersOfThread names the thread's set of filters, as far as the kernel shows it; "" is no
// filter. A thread can only get more filters.
func filtersOfThread() (string, error) {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err == unix.EINVAL { // a kernel without filters
		return "", nil
	}
	if err != nil || mode != unix.SECCOMP_MODE_FILTER {
		return "", err
	}
	d, err := procfs.Thread()
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Filters()
}

// probe has launchers make the calls. If a launcher is killed, it has made the call that kills.
// Another launcher makes the rest of the calls.
func probe(ctx context.Context) (f forbidden, err error) {
	for rest := probes; len(rest) > 0; {
		l := newLaunch()
		l.Prctl(unix.PR_SET_DUMPABLE, 0) // a killed launcher leaves no core file
		for _, p := range rest {
			l.Send(l.Probe(p.call))
		}
		proc, err := l.start(ctx, lookAtStarter(nil), &launcher.Cmd{Args: []string{"gonso-probe"}}, func() {})
		if err != nil {
			return f, err
		}
		answered := 0
		for ; answered < len(rest); answered++ {
			answer, err := proc.NextValue(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				giveUp(proc)
				return f, err
			}
			*rest[answered].of(&f) = rest[answered].call.Forbids(answer)
		}
		giveUp(proc)
		if answered == len(rest) {
			return f, nil
		}
		*rest[answered].of(&f) = true
		rest = rest[answered+1:]
	}
	return f, nil
}

// farFD: up to this descriptor, nobody asks which descriptors are inherited: all are closed.
const farFD = 4096

// inherited lists the descriptors that a child may inherit of this process. Another thread may open
// more meanwhile. They get the lowest free numbers.
func inherited() (fds []int) {
	names, err := procfs.Names("self/fd")
	if err != nil {
		return nil
	}
	highest := 0
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		highest = max(highest, fd)
		if fd >= farFD {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				fds = append(fds, fd)
			}
		}
	}
	const more = 64
	for fd := range min(highest+more, farFD) {
		fds = append(fds, fd)
	}
	return fds
}

// closeAll closes the descriptors from first on, all of which are inherited.
func (l *launch) closeAll(first launcher.FD, o own) {
	if !o.forbids.closeRange {
		l.CloseRange(first, 0)
		return
	}
	for _, fd := range o.inherited {
		if fd >= int(first) {
			l.Close(launcher.FD(fd)).Tolerate(unix.EBADF)
		}
	}
}

// closeOwn closes the descriptors from first on, all of which are the launcher's own and below end.
func (l *launch) closeOwn(first, end launcher.FD, o own) {
	if !o.forbids.closeRange {
		l.CloseRange(first, 0)
		return
	}
	for fd := first; fd < end; fd++ {
		l.Close(fd).Tolerate(unix.EBADF)
	}
}
