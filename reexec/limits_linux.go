package reexec

import (
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// NamespaceLimits reads sysctls of /proc/sys/user, by their names, for the user namespace that
// joins lead to. The kernel shows the sysctls of the user namespace of the process that looks them
// up (set_lookup in kernel/ucount.c). So a launcher opens them inside, below this process's own
// procfs.
func NamespaceLimits(ctx context.Context, joins []Join, protect bool, names []string) (map[string]int64, error) {
	fd, err := procfs.Open("sys/user", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "/proc/sys/user") // path: a name for errors
	defer dir.Close()
	here, there, err := mailbox()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	defer there.Close()
	limits := make(map[string]int64)
	l := composeLimits(joins, protect, lookAtMaker(ctx, protect), names)
	cmd := &launcher.Cmd{Args: []string{"gonso-limits"}, Files: append(files(joins), dir, there)}
	err = l.visit(ctx, cmd, "joining the user namespace", func(int) error {
		got, err := sys.ReceiveFiles(here, len(names))
		for i, f := range got {
			if n, ok := readNumber(f); ok {
				limits[names[i]] = n
			}
			f.Close()
		}
		return err
	})
	return limits, err
}

// composeLimits opens the sysctls inside and sends them.
func composeLimits(joins []Join, protect bool, o own, names []string) *launch {
	l := newLaunch()
	dir := launcher.FirstFileFD + launcher.FD(len(joins))
	socket, first := dir+1, dir+2
	l.cross(crossing{own: own{facts: facts{forbids: o.forbids}, inherited: o.inherited}, user: true, protect: protect, top: first, session: true})
	l.join(joins, launcher.FirstFileFD)
	var opened []launcher.FD
	for i, name := range names {
		fd := first + launcher.FD(i) // all lower descriptors are in use
		l.OpenAs(fd, dir, name, unix.O_RDONLY|unix.O_CLOEXEC)
		opened = append(opened, fd)
	}
	l.mayFly(o)
	l.SendFiles(socket, opened...)
	l.Sync()
	l.Wait()
	return l
}

func readNumber(f *os.File) (int64, bool) {
	var b [32]byte
	n, err := f.Read(b[:])
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(b[:n])), 10, 64)
	return v, err == nil
}
