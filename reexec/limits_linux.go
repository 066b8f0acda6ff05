package reexec

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// NamespaceLimits reads sysctls of /proc/sys/user, by their names, of the user namespace that joins
// lead to. The kernel shows those of the user namespace of who looks them up (set_lookup in
// kernel/ucount.c). So a launcher opens them inside, below this process's own procfs.
func NamespaceLimits(ctx context.Context, joins []Join, protect bool, names []string) (map[string]int64, error) {
	fd, err := procfs.Open("sys/user", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "/proc/sys/user")
	defer dir.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	here, there := pair[0], os.NewFile(uintptr(pair[1]), "socket")
	defer unix.Close(here)
	defer there.Close()
	limits := make(map[string]int64)
	l := composeLimits(joins, protect, names)
	err = l.visit(ctx, &launcher.Cmd{Args: []string{"gonso-limits"}, Files: append(files(joins), dir, there)}, func(int) error {
		got, err := receiveFiles(here, len(names))
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
func composeLimits(joins []Join, protect bool, names []string) *launch {
	l := newLaunch()
	dir := launcher.FirstFileFD + launcher.FD(len(joins))
	socket, first := dir+1, dir+2
	l.cross(crossing{user: true, protect: protect, top: first, session: true})
	l.join(joins, launcher.FirstFileFD)
	var opened []launcher.FD
	for i, name := range names {
		to := first + launcher.FD(len(names)+i) // above whatever opening gives
		l.Dup3(l.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC), to, unix.O_CLOEXEC)
		opened = append(opened, to)
	}
	l.SendFiles(socket, opened...)
	l.Sync()
	l.Wait()
	return l
}

// receiveFiles takes what was sent already.
func receiveFiles(socket, n int) ([]*os.File, error) {
	var data [1]byte
	control := make([]byte, unix.CmsgSpace(4*n))
	_, have, _, _, err := unix.Recvmsg(socket, data[:], control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:have])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "sysctl"))
		}
	}
	if len(files) != n {
		err = fmt.Errorf("%d descriptors came of %d", len(files), n)
	}
	return files, err
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
