package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
)

// OpenCgroup opens a directory of cgroup v2.
func OpenCgroup(path string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	f, err := sys.Within(ctx, func() (*os.File, error) { return openCgroup(path) }, func(f *os.File) { f.Close() })
	if errors.Is(err, sys.ErrLeftBehind) {
		err = &os.PathError{Op: "open", Path: path, Err: err}
	}
	return f, err
}

// openTimeout is how long the file system may take to answer.
const openTimeout = 2 * time.Second

func openCgroup(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Statfs_t
	if err = unix.Fstatfs(fd, &st); err == nil && int64(st.Type) != unix.CGROUP2_SUPER_MAGIC {
		err = errors.New("it is not a directory of cgroup v2")
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// cloneIntoCgroup is false in tests of kernels that cannot clone into a cgroup.
var cloneIntoCgroup = true

// started is a launcher and its launch.
type started struct {
	proc   *launcher.Process
	launch *launch
}

func (s started) giveUp() { giveUp(s.proc) }

// startIn starts the launcher in the Worker's cgroup. That is one system call since Linux 5.7
// (CLONE_INTO_CGROUP), unless a filter of system calls hides clone3; otherwise the launcher waits
// until it is moved.
func (w *Worker) startIn(how workerLaunch, cmd *launcher.Cmd) (started, error) {
	if w.opts.Cgroup == "" {
		l := composeWorker(&w.opts, how)
		p, err := l.startHere(cmd)
		return started{p, l}, err
	}
	cgroup, err := OpenCgroup(w.opts.Cgroup)
	if err != nil {
		return started{}, fmt.Errorf("%s: %w", "Worker.Cgroup", err)
	}
	defer cgroup.Close()
	if cloneIntoCgroup {
		l := composeWorker(&w.opts, how)
		cmd.Sys.UseCgroupFD, cmd.Sys.CgroupFD = true, int(cgroup.Fd())
		var p *launcher.Process
		err := CloneInto(cgroup, func() (err error) {
			p, err = l.startHere(cmd)
			return err
		})
		if err == nil {
			return started{p, l}, nil
		}
		if errors.Is(err, ErrFrozen) {
			if p != nil {
				giveUp(p)
			}
			return started{}, err
		}
		// The cause does not matter: if it was another one, the other way fails, too.
		cmd.Sys.UseCgroupFD = false
	}
	if err := frozen(cgroup); err != nil {
		return started{}, frozenError(cgroup, err)
	}
	how.hold = true
	l := composeWorker(&w.opts, how)
	p, err := l.startHere(cmd)
	if err != nil {
		return started{}, err
	}
	if err = joinCgroup(cgroup, p.Pid, "Worker.Cgroup"); err == nil {
		err = p.Continue()
	}
	if err != nil {
		giveUp(p)
		return started{}, err
	}
	return started{p, l}, nil
}

// joinCgroup moves a process, for an option of the caller. If the directory is no cgroup, or no
// longer one, the error is the same as from clone3(2).
func joinCgroup(cgroup *os.File, pid int, option string) error {
	fd, err := unix.Openat(int(cgroup.Fd()), "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(strconv.Itoa(pid)))
		unix.Close(fd)
	}
	var st unix.Statfs_t
	if err == unix.ENOENT && unix.Fstatfs(int(cgroup.Fd()), &st) == nil {
		err = unix.ENODEV
		if int64(st.Type) != unix.CGROUP2_SUPER_MAGIC {
			err = unix.EBADF
		}
	}
	if err != nil {
		return &LaunchError{Op: "join cgroup", Path: cgroup.Name(), Step: fmt.Sprintf("write %d to %s/cgroup.procs", pid, cgroup.Name()), Err: err, Option: option}
	}
	return nil
}

// cgroupFiles lists where a file of a controller may be, given what /proc/self/cgroup says: in this
// program's cgroup and those above it, or in cgroup, if that is not "", and those above it. A
// directory without the controller is accounted to the nearest one above that has it.
func cgroupFiles(cgroup, own, controller, v1, v2 string) (files []string) {
	const top = "/sys/fs/cgroup"
	upwards := func(root, dir, file string) {
		for ; len(dir) > len(root); dir = path.Dir(dir) {
			files = append(files, path.Join(dir, file))
		}
	}
	if cgroup != "" {
		upwards(top, cgroup, v2)
	}
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) != 3:
		case f[1] == controller:
			upwards(path.Join(top, controller), path.Join(top, controller, f[2]), v1)
		case f[0] == "0" && cgroup == "":
			upwards(top, path.Join(top, f[2]), v2)
		}
	}
	return files
}
