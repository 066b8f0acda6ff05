//go:build linux

package launcher

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dialogue with this program.

// reached is set in the first word of a record, a step's address, if the record does not report a
// failure.
const reached = 1

// Sync reports to [Process.Next] that the launcher has reached this step.
func (l *List) Sync() *Step {
	record := words(stepAddr(l.Len())|reached, 0)
	return l.add("write", unix.SYS_WRITE, status, memory(record, "reached"), symbol(recordSize, "record")).reporting()
}

// Send reports to [Process.NextValue] the result of an earlier step, such as a process id.
func (l *List) Send(result *Step) *Step {
	tag := words(stepAddr(l.Len()) | reached)
	vec := words(0, wordSize, 0, wordSize)
	vec.pointers = []pointer{{at: 0, data: tag}, {at: 2 * wordSize, result: result}}
	return l.add("writev", unix.SYS_WRITEV, status, described(vec, "[reached, #%d]", result.index), number(2)).reporting()
}

// reporting is for steps that write a record. Printed, its size is the same in all architectures.
func (s *Step) reporting() *Step {
	s.reports = true
	return s.expects(recordSize, 0, " = record")
}

// Wait waits for [Process.Continue]. It fails with result 0 when the Process has been closed or
// this program has died, so the launcher ends with this program.
func (l *List) Wait() *Step {
	return l.add("read", unix.SYS_READ, symbol(int64(ControlFD), "control"), scratch, number(1)).gives(1)
}

// MoveStatus moves the status pipe to the lowest free descriptor from min on, closed by exec, so that StatusFD can be given
// to something else. StatusFD itself stays open until then.
func (l *List) MoveStatus(min FD) *Step {
	s := l.add("fcntl", unix.SYS_FCNTL, StatusFD.arg(), symbol(unix.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"), min.arg()).givesAny()
	s.out, s.want = unsafe.Offsetof(header{}.status), " = status"
	return s
}

// Namespaces.

// Setns enters the namespace, or the namespaces of the process, that fd refers to.
func (l *List) Setns(fd Value, types int) *Step {
	return l.add("setns", unix.SYS_SETNS, fd.arg(), flags(types, cloneFlags))
}

// Unshare makes new namespaces.
func (l *List) Unshare(types int) *Step {
	return l.add("unshare", unix.SYS_UNSHARE, flags(types, cloneFlags))
}

// Clone makes a child that has its own memory. Both go on with the next step: the child with result
// 0, the original with the child's process id. The exit signal is part of f.
func (l *List) Clone(f int) *Step {
	return l.add("clone", unix.SYS_CLONE, flags(f, cloneFlags), null, null, null, null).givesAny()
}

// Processes.

// Wait4 waits for the end of a child. If SIGCHLD is ignored since before this program started, no
// child is left by then (ECHILD).
func (l *List) Wait4() *Step {
	return l.add("wait4", unix.SYS_WAIT4, number(-1), null, number(0), null).givesAny().Tolerate(unix.ECHILD)
}

// Setpgid makes the process the leader of a new process group.
func (l *List) Setpgid() *Step { return l.add("setpgid", unix.SYS_SETPGID, number(0), number(0)) }

// Prctl is prctl(2) with arguments that are numbers.
func (l *List) Prctl(op int, args ...int) *Step {
	a := append(make([]arg, 0, 1+len(args)), named(op, prctls))
	for i, v := range args {
		if op == unix.PR_CAP_AMBIENT && i == 0 {
			a = append(a, named(v, ambientOps))
		} else {
			a = append(a, number(v))
		}
	}
	return l.add("prctl", unix.SYS_PRCTL, a...)
}

// IgnoreSignal ignores sig from here on, also after exec. If SIGCHLD is ignored, the kernel reaps
// children as they exit: this is enough for the init of a pid namespace.
func (l *List) IgnoreSignal(sig syscall.Signal) *Step { return l.sigaction(sig, 1, "SIG_IGN") }

// DefaultSignal gives sig its default action.
func (l *List) DefaultSignal(sig syscall.Signal) *Step { return l.sigaction(sig, 0, "SIG_DFL") }

func (l *List) sigaction(sig syscall.Signal, handler uintptr, name string) *Step {
	return l.add("rt_sigaction", unix.SYS_RT_SIGACTION,
		symbol(int64(sig), unix.SignalName(sig)), memory(sigactionOf(handler), name), null, number(sigsetSize()))
}

// Prlimit sets a limit of the launcher itself.
func (l *List) Prlimit(resource int, soft, hard uint64) *Step {
	limit := described(quads(soft, hard), "{%d, %d}", soft, hard)
	return l.add("prlimit64", unix.SYS_PRLIMIT64, number(0), number(resource), limit, null)
}

// A Limit is a limit of the launcher itself that is raised for a while.
type Limit struct {
	list         *List
	resource     int
	kept, raised arg
}

// Keep reads a limit, so that it can be raised to the hard limit of this program, and put back.
func (l *List) Keep(resource int, hard uint64) *Limit {
	m := &Limit{l, resource, memory(quads(0, 0), "kept"), described(quads(hard, hard), "{%d, %d}", hard, hard)}
	m.add(null, m.kept)
	return m
}

// Raise raises the limit. If the launcher's hard limit is another one, the limit stays as it is.
func (m *Limit) Raise() { m.add(m.raised, null).Tolerate(unix.EPERM) }

// PutBack gives the limit its old value.
func (m *Limit) PutBack() { m.add(m.kept, null) }

func (m *Limit) add(set, get arg) *Step {
	return m.list.add("prlimit64", unix.SYS_PRLIMIT64, number(0), number(m.resource), set, get)
}

// JoinSessionKeyring leaves the session keyring for a new, anonymous one. Kernels may lack keys (ENOSYS); container
// runtimes may deny them (EPERM).
func (l *List) JoinSessionKeyring() *Step {
	return l.add("keyctl", unix.SYS_KEYCTL, symbol(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), null).givesAny()
}

// ExitGroup ends the launcher.
func (l *List) ExitGroup(code int) *Step {
	return l.add("exit_group", unix.SYS_EXIT_GROUP, number(code)).givesNone()
}

// Execveat replaces the launcher by the program that fd refers to, with the launcher's arguments
// and environment. If the call returns, it has failed. TOMOYO answers ENOENT if /dev/fd is missing:
// tolerate this, and let an Execve follow.
func (l *List) Execveat(fd Value) *Step {
	return l.add("execveat", unix.SYS_EXECVEAT, fd.arg(), text(""), argv, envp,
		symbol(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH")).givesNone()
}

// Execve replaces the launcher by the program at path, with the launcher's arguments and
// environment. If the call returns, it has failed.
func (l *List) Execve(path string) *Step {
	return l.add("execve", unix.SYS_EXECVE, text(path), argv, envp).givesNone()
}

// Credentials.

// Setgroups drops all supplementary groups.
func (l *List) Setgroups() *Step {
	return l.add("setgroups", sysSetgroups, number(0), null)
}

// Setresgid sets all three group ids.
func (l *List) Setresgid(id int) *Step {
	return l.add("setresgid", sysSetresgid, number(id), number(id), number(id))
}

// Setresuid sets all three user ids.
func (l *List) Setresuid(id int) *Step {
	return l.add("setresuid", sysSetresuid, number(id), number(id), number(id))
}

// RaiseCaps makes all capabilities up to last inheritable and ambient, so that exec keeps them
// without uid 0. The launcher must have them, as it does in its own user namespace. Capabilities
// that the kernel does not know are skipped.
func (l *List) RaiseCaps(last int) []*Step {
	from := l.Len()
	all := uint64(1)<<(last+1) - 1
	l.capset(all, all, all)
	for c := range last + 1 {
		l.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c).Tolerate(unix.EINVAL)
	}
	return l.steps[from:]
}

// Capset sets the capabilities of the process, as bit sets.
func (l *List) Capset(effective, permitted, inheritable uint64) *Step {
	return l.capset(effective, permitted, inheritable)
}

func (l *List) capset(effective, permitted, inheritable uint64) *Step {
	d := new(data)
	for _, shift := range []int{0, 32} {
		for _, set := range []uint64{effective, permitted, inheritable} {
			d.bytes = binary.NativeEndian.AppendUint32(d.bytes, uint32(set>>shift))
		}
	}
	version := ints(unix.LINUX_CAPABILITY_VERSION_3, 0) // pid 0 is the launcher itself
	return l.add("capset", unix.SYS_CAPSET, memory(version, "self"), described(d, "{%#x, %#x, %#x}", effective, permitted, inheritable))
}

// ClearInheritable empties the inheritable set, and with it the ambient one, which is part of it
// (cap_capset in security/commoncap.c). The other sets stay as they are.
func (l *List) ClearInheritable() {
	version, caps := ints(unix.LINUX_CAPABILITY_VERSION_3, 0), &data{bytes: make([]byte, 24)}
	l.add("capget", unix.SYS_CAPGET, memory(version, "self"), memory(caps, "caps"))
	// A list cannot compute, so a call must write the zeros: a process without a parent-death
	// signal gets 0 from prctl.
	for _, at := range []int{8, 20} {
		zero := memory(caps, fmt.Sprintf("caps+%d", at))
		zero.at = at
		l.add("prctl", unix.SYS_PRCTL, named(unix.PR_GET_PDEATHSIG, prctls), zero)
	}
	l.add("capset", unix.SYS_CAPSET, memory(version, "self"), memory(caps, "caps"))
}

// Descriptors and files.

// Dup3 makes to refer to what from refers to. Flags are 0 or O_CLOEXEC.
func (l *List) Dup3(from, to Value, f int) *Step {
	s := l.add("dup3", unix.SYS_DUP3, from.arg(), to.arg(), flags(f, openFlags)).givesAny()
	if fd, ok := to.(FD); ok {
		s.gives(int(fd))
	}
	return s
}

// Cloexec makes exec close fd.
func (l *List) Cloexec(fd Value) *Step {
	return l.add("fcntl", unix.SYS_FCNTL, fd.arg(), symbol(unix.F_SETFD, "F_SETFD"), symbol(unix.FD_CLOEXEC, "FD_CLOEXEC"))
}

// Close closes fd.
func (l *List) Close(fd Value) *Step { return l.add("close", unix.SYS_CLOSE, fd.arg()) }

// CloseRange closes the descriptors from first on, to the end, or with CLOSE_RANGE_CLOEXEC (Linux 5.11; EINVAL before)
// makes exec close them. The call itself came with Linux 5.9.
func (l *List) CloseRange(first FD, f int) *Step {
	return l.add("close_range", unix.SYS_CLOSE_RANGE, first.arg(), symbol(1<<32-1, "~0"), flags(f, closeRangeFlags))
}

// Openat opens a file; its result is a descriptor. Files that are made get mode 0600.
func (l *List) Openat(dir Value, path string, f int) *Step {
	args := []arg{dir.arg(), text(path), flags(f, openFlags)}
	if f&unix.O_CREAT != 0 {
		args = append(args, symbol(0o600, "0600"))
	}
	return l.add("openat", unix.SYS_OPENAT, args...).givesAny()
}

// OpenAs is Openat for a known result: fd must be the lowest free descriptor, and the file gets it.
func (l *List) OpenAs(fd FD, dir Value, path string, f int) *Step {
	return l.Openat(dir, path, f).gives(int(fd))
}

// Write writes content, in one call.
func (l *List) Write(fd Value, content string) *Step {
	d := &data{bytes: []byte(content)}
	return l.add("write", unix.SYS_WRITE, fd.arg(), described(d, "%q", content), number(len(content))).gives(len(content))
}

// SendFiles sends descriptors and one NUL byte over a Unix socket.
func (l *List) SendFiles(socket FD, files ...FD) *Step {
	fds := make([]int, len(files))
	for i, fd := range files {
		fds[i] = int(fd)
	}
	control := &data{bytes: unix.UnixRights(fds...)}
	vec := words(0, 1)
	vec.pointers = []pointer{{at: 0, data: words(0)}}
	msg := words(0, 0, 0, 1, 0, uintptr(len(control.bytes)), 0) // struct msghdr: name, vec, control, flags
	msg.pointers = []pointer{{at: 2 * wordSize, data: vec}, {at: 4 * wordSize, data: control}}
	return l.add("sendmsg", unix.SYS_SENDMSG, socket.arg(),
		arg{data: msg, print: func() string { return "SCM_RIGHTS " + strings.ReplaceAll(fmt.Sprint(files), " ", ", ") }}, symbol(unix.MSG_NOSIGNAL, "MSG_NOSIGNAL")).gives(1)
}

// SetInterfaceUp sets the flag IFF_UP of a network interface, through a socket in its namespace.
func (l *List) SetInterfaceUp(name string, socket Value) *Step {
	ifreq := make([]byte, 40) // struct ifreq: name, flags
	copy(ifreq[:unix.IFNAMSIZ-1], name)
	binary.NativeEndian.PutUint16(ifreq[unix.IFNAMSIZ:], unix.IFF_UP)
	return l.add("ioctl", unix.SYS_IOCTL, socket.arg(), symbol(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"),
		described(&data{bytes: ifreq}, "{%q, IFF_UP}", name))
}

// Socket makes a socket for requests about interfaces. Any family will do for that. A launcher has
// sockets of AF_UNIX already, so no filter forbids those.
func (l *List) Socket() *Step {
	return l.add("socket", unix.SYS_SOCKET, symbol(unix.AF_UNIX, "AF_UNIX"),
		symbol(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), number(0)).givesAny()
}

// Mount is mount(2). Empty strings, but for target, are NULL.
func (l *List) Mount(source, target, fstype string, f uintptr, options string) *Step {
	return l.add("mount", unix.SYS_MOUNT,
		textOrNull(source), text(target), textOrNull(fstype), flags(int(f), mountFlags), textOrNull(options))
}

// Umount2 unmounts.
func (l *List) Umount2(target string, f int) *Step {
	return l.add("umount2", unix.SYS_UMOUNT2, text(target), flags(f, umountFlags))
}

// PivotRoot makes root the root of the mnt namespace, and moves the old root to old.
func (l *List) PivotRoot(root, old string) *Step {
	return l.add("pivot_root", unix.SYS_PIVOT_ROOT, text(root), text(old))
}

// Fsmount makes a file system of a type without options, mounted nowhere; its result is a descriptor of its root.
func (l *List) Fsmount(fstype string) *Step {
	fs := l.add("fsopen", unix.SYS_FSOPEN, text(fstype), symbol(unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC")).givesAny()
	l.add("fsconfig", unix.SYS_FSCONFIG, fs.arg(), symbol(unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"), null, null, number(0))
	const attrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	root := l.add("fsmount", unix.SYS_FSMOUNT, fs.arg(), symbol(unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"),
		symbol(attrs, "RDONLY|NOSUID|NODEV|NOEXEC")).givesAny()
	l.Close(fs)
	return root
}

// OpenDir opens a directory for later use by its descriptor. No link of procfs is followed on the
// way.
func (l *List) OpenDir(path string) *Step {
	const open, size = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, 24
	how := memory(quads(open, 0, unix.RESOLVE_NO_MAGICLINKS), "{O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_NO_MAGICLINKS}")
	return l.add("openat2", unix.SYS_OPENAT2, FD(unix.AT_FDCWD).arg(), text(path), how, number(size)).givesAny()
}

// Fchdir makes the directory that fd refers to the working directory.
func (l *List) Fchdir(fd Value) *Step { return l.add("fchdir", unix.SYS_FCHDIR, fd.arg()) }

// Umask sets the mask for the modes of new files.
func (l *List) Umask(mask int) *Step {
	return l.add("umask", unix.SYS_UMASK, symbol(int64(mask), fmt.Sprintf("%#o", mask))).givesAny()
}

// Read reads one byte, or finds the end of a pipe.
func (l *List) Read(fd Value) *Step {
	return l.add("read", unix.SYS_READ, fd.arg(), scratch, number(1)).givesAny()
}

// Chdir changes the working directory.
func (l *List) Chdir(path string) *Step { return l.add("chdir", unix.SYS_CHDIR, text(path)) }

// Chroot changes the root directory.
func (l *List) Chroot(path string) *Step { return l.add("chroot", unix.SYS_CHROOT, text(path)) }
