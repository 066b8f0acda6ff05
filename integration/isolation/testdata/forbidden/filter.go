package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// numbers are the calls that a filter may be about. One name may stand for several: mount has been taken apart.
var numbers = map[string][]uint32{
	"keyctl": {unix.SYS_KEYCTL}, "close_range": {unix.SYS_CLOSE_RANGE}, "execveat": {unix.SYS_EXECVEAT},
	"openat2": {unix.SYS_OPENAT2}, "clone": {unix.SYS_CLONE}, "clone3": {unix.SYS_CLONE3}, "unshare": {unix.SYS_UNSHARE},
	"setns": {unix.SYS_SETNS}, "setgroups": {unix.SYS_SETGROUPS}, "mount": {unix.SYS_MOUNT}, "pivot_root": {unix.SYS_PIVOT_ROOT},
	"fsmount": {unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR},
	"nothing": {}, "unshare time": {unix.SYS_UNSHARE}, "memfd_create": {unix.SYS_MEMFD_CREATE}, "pidfd_open": {unix.SYS_PIDFD_OPEN},
	"setsid": {unix.SYS_SETSID}, "setresuid": {wide(unix.SYS_SETRESUID, 208, 208)}, "statfs": {wide(unix.SYS_STATFS, 268, 266)}, "socket inet": {unix.SYS_SOCKET},
}

// wide is the call with wide fields: 386 and arm have narrow ones by the usual name.
func wide(usual, i386, arm uint32) uint32 {
	switch runtime.GOARCH {
	case "386":
		return i386
	case "arm":
		return arm
	}
	return usual
}

// namespaceFlags are those of clone(2).
const namespaceFlags = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID |
	unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// flagged are calls that a filter forbids only where an argument has some of these bits, as those of container runtimes do.
var flagged = map[string]uint32{"clone": namespaceFlags, "unshare time": unix.CLONE_NEWTIME, "socket inet": unix.AF_INET}

// filter makes the kernel answer action to some calls, for all threads.
func filter(calls []string, action uint32) error {
	const ld, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_RET | unix.BPF_K
	argument := uint32(16) // the low half of seccomp_data.args[0]
	if runtime.GOARCH == "s390x" {
		argument += 12 // there flags are clone's second one, and the high half is first
	}
	prog := []unix.SockFilter{{Code: ld}} // seccomp_data.nr
	for _, name := range calls {
		nrs, ok := numbers[name]
		if !ok {
			return fmt.Errorf("call %q is not known", name)
		}
		for _, nr := range nrs {
			answer := []unix.SockFilter{{Code: ret, K: action}}
			if bits := flagged[name]; bits != 0 {
				answer = []unix.SockFilter{{Code: ld, K: argument}, {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: bits},
					{Code: ret, K: action}, {Code: ret, K: unix.SECCOMP_RET_ALLOW}}
			}
			prog = append(prog, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(len(answer)), K: nr})
			prog = append(prog, answer...)
		}
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&f)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// landlock forbids all threads what Landlock forbids whoever it restricts at all: mounts (landlock(7)).
func landlock() error {
	attr := struct{ fs uint64 }{unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer unix.Close(int(fd))
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	}
	if errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}
