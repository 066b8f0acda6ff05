package gonso

import (
	"errors"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// A file that was opened inside is used outside. For most files of the kernel this makes no
// difference: their namespace is the one of the process that opened the file (/proc/sys/net), or
// that mounted the file system (/sys). usersFiles are the exceptions.

// usersFile is a file that shows the namespace of the process that reads or writes it, and not of
// the process that has opened it.
type usersFile struct {
	types Type    // the namespaces whose value it has
	fs    int64   // its file system, or 0 for a device
	name  string  // the end of its path, a pattern of path.Match
	since version // the first kernel that does this, or zero
	until version // the first kernel that no longer does this, or zero
}

var usersFiles = []usersFile{
	// kernel/utsname_sysctl.c, get_uts
	{types: UTS, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/hostname"},
	{types: UTS, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/domainname"},
	// ipc/ipc_sysctl.c, get_ipc, and ipc/mq_sysctl.c, get_mq
	{types: IPC, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/shm*", until: version{5, 19}},
	{types: IPC, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/msg*", until: version{5, 19}},
	{types: IPC, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/sem*", until: version{5, 19}},
	{types: IPC, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/auto_msgmni", until: version{5, 19}},
	{types: IPC, fs: unix.PROC_SUPER_MAGIC, name: "sys/fs/mqueue/*", until: version{5, 19}},
	// Handlers that took current->nsproxy->net_ns.
	{types: Net, fs: unix.PROC_SUPER_MAGIC, name: "sys/net/sctp/*", until: version{6, 13}},
	{types: Net, fs: unix.PROC_SUPER_MAGIC, name: "sys/net/mptcp/*", until: version{6, 13}},
	{types: Net, fs: unix.PROC_SUPER_MAGIC, name: "sys/net/rds/tcp/*", until: version{6, 13}},
	// drivers/net/ppp/ppp_generic.c, ppp_ioctl; drivers/infiniband/core/ucma.c, ucma_create_id
	{types: Net, name: "ppp"},
	{types: Net, name: "infiniband/rdma_cm"},
	// kernel/pid_namespace.c, kernel/pid_sysctl.h, kernel/reboot.c. From Linux 6.14 on, each pid
	// namespace has its own pid_max, and the thread that opens the file is not in the Set's
	// (kernel/pid.c).
	{types: PID, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/ns_last_pid"},
	{types: PID, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/pid_max", since: version{6, 14}},
	{types: PID, fs: unix.PROC_SUPER_MAGIC, name: "sys/kernel/cad_pid"},
	{types: PID, fs: unix.PROC_SUPER_MAGIC, name: "sys/vm/memfd_noexec"},
	// Its last number is an id, see fs/proc/loadavg.c.
	{types: PID, fs: unix.PROC_SUPER_MAGIC, name: "loadavg"},
	// Ids of processes are the ones in the reader's or writer's pid namespace
	// (kernel/cgroup/cgroup.c).
	{types: PID, fs: unix.CGROUP2_SUPER_MAGIC, name: "cgroup.procs"},
	{types: PID, fs: unix.CGROUP2_SUPER_MAGIC, name: "cgroup.threads"},
	{types: PID, fs: unix.CGROUP_SUPER_MAGIC, name: "cgroup.procs"},
	{types: PID, fs: unix.CGROUP_SUPER_MAGIC, name: "tasks"},
	// fs/proc/uptime.c, fs/proc/stat.c, do_task_stat in fs/proc/array.c
	{types: Time, fs: unix.PROC_SUPER_MAGIC, name: "uptime"},
	{types: Time, fs: unix.PROC_SUPER_MAGIC, name: "stat"},
	// proc_cgroup_show and cgroup_show_path in kernel/cgroup/cgroup.c, proc_cpuset_show in
	// kernel/cgroup/cpuset.c. The other two files of mounts do not show the roots of mounts.
	{types: Cgroup, fs: unix.PROC_SUPER_MAGIC, name: "[0-9]*/cgroup"},
	{types: Cgroup, fs: unix.PROC_SUPER_MAGIC, name: "[0-9]*/mountinfo"},
	{types: Cgroup, fs: unix.PROC_SUPER_MAGIC, name: "[0-9]*/cpuset"},
	// A look-up below these directories shows the namespaces of the thread at that time.
	{types: Net, fs: unix.PROC_SUPER_MAGIC, name: "task/[0-9]*/net"},
	{types: AllTypes, fs: unix.PROC_SUPER_MAGIC, name: "task/[0-9]*/ns"},
}

// refuseUsers refuses a file that would mean another namespace when it is used outside.
func (s *Set) refuseUsers(f *os.File, name string, foreign Type) error {
	if foreign == 0 {
		return nil
	}
	u, err := usersFileOf(f, foreign)
	if err != nil {
		return newError("open", 0, name, err)
	}
	if u == nil {
		return nil
	}
	remedy := "in a registered function"
	if foreign&^threadEnters == 0 && u.types != PID {
		remedy = "in Set.Run or " + remedy
	}
	return newError("open", u.types&foreign, name, errUsers).withHint("open, read and write it inside: " + remedy)
}

var errUsers = sys.Wrap("whose value it is depends on who reads or writes it, not on who has opened it, and outside it would be another", errors.ErrUnsupported)

// usersFileOf finds f among usersFiles with one of the types. It returns nil if f is not there.
func usersFileOf(f *os.File, types Type) (u *usersFile, err error) {
	err = sys.OnFD(f, func(fd int) error {
		var st unix.Stat_t
		var fsys unix.Statfs_t
		if err := unix.Fstat(fd, &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		device := st.Mode&unix.S_IFMT == unix.S_IFCHR
		if !device {
			if err := unix.Fstatfs(fd, &fsys); err != nil {
				return os.NewSyscallError("fstatfs", err)
			}
		}
		is := func(i int) bool {
			u := &usersFiles[i]
			return u.types&types != 0 && int64(fsys.Type) == u.fs && device == (u.fs == 0) && u.here()
		}
		at := ""
		for i := range usersFiles {
			if !is(i) {
				continue
			}
			if at == "" {
				if at, err = pathOf(fd); err != nil {
					return err
				}
			}
			if endsIn(at, usersFiles[i].name) {
				u = &usersFiles[i]
				return nil
			}
		}
		return nil
	})
	return u, err
}

func (u *usersFile) here() bool {
	k := kernelVersion()
	return !k.before(u.since) && (u.until == version{} || k.before(u.until))
}

// endsIn compares as many elements of a path as the pattern has.
func endsIn(at, pattern string) bool {
	parts := strings.Split(at, "/")
	n := len(parts) - 1 - strings.Count(pattern, "/")
	if n < 0 {
		return false
	}
	ok, err := path.Match(pattern, strings.Join(parts[n:], "/"))
	return ok && err == nil
}

// pathOf is the kernel's own path of a file, which may differ from the name that was opened.
func pathOf(fd int) (string, error) {
	runtime.LockOSThread() // another thread may have ended by the time that its directory is used
	defer runtime.UnlockOSThread()
	dir, err := procfs.Open("thread-self/fd", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, strconv.Itoa(fd), buf)
	if err != nil {
		return "", os.NewSyscallError("readlink", err)
	}
	return string(buf[:n]), nil
}
