package gonso

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// UnshareOption changes how [Unshare] makes namespaces.
type UnshareOption func(*unshareOptions)

type unshareOptions struct {
	uid, gid    []IDMap
	idMaps      bool // uid and gid were given
	noIDMaps    bool
	subIDs      bool
	subIDsAs    string // the option that was given: the last of SubIDs and OnlySubIDs counts
	setgroups   *bool
	ownerUID    *uint32
	propagation *MountPropagation

	clockOffsets *clockOffsets
	fresh        []freshMount
	loopbackUp   bool
	hostFiles    bool

	bringRoot bool // found out, not given: this program is in a chroot
}

// IDMaps sets the id maps of a new user namespace. Each map needs at least one line and at most
// 340. Written out for the kernel, a map must be shorter than a page of memory. Lines must not
// overlap.
//
// A caller without CAP_SETUID and CAP_SETGID can write maps only for its own effective uid and gid,
// one line of one id each. The kernel then denies setgroups(2) inside (user_namespaces(7)). The
// default maps the caller's ids to 0 in this way.
//
// All other maps of such a caller are written by newuidmap and newgidmap, under the conditions of
// [SubIDs]. The outside ids of these maps are ids of the user's ranges in /etc/subuid and
// /etc/subgid, or the user's own id. So a caller can keep its own id inside. With a gid map of this
// kind setgroups(2) stays allowed, and Setgroups(false) denies it. For other outside ids the error
// names the map, its line and the ids, and matches [os.ErrPermission]. It also matches
// [ErrNoSubIDs] if the user has no range.
//
// A LinuxIDMapping of the OCI runtime specification is converted by IDMap(m), and the maps of
// package syscall are converted by [SysIDMaps].
//
// Since Linux 5.12 a map that contains uid 0 of the parent needs CAP_SETFCAP
// there.
//
// Outside ids are ids of the parent user namespace. The parent is this process's user namespace, or
// the one of the Set if its method Unshare is called.
func IDMaps(uid, gid []IDMap) UnshareOption {
	return func(o *unshareOptions) { o.uid, o.gid, o.idMaps = uid, gid, true }
}

// NoIDMaps leaves a new user namespace without id maps, so that another program can write them.
// Until then work inside has the overflow ids, and all capabilities.
func NoIDMaps() UnshareOption {
	return func(o *unshareOptions) { o.noIDMaps = true }
}

// Setgroups says whether processes in a new user namespace may call setgroups(2). It is written to
// /proc/PID/setgroups before the gid map. The default is false for a caller without CAP_SETGID,
// because the kernel demands that, and true otherwise. Without CAP_SETGID true is an error: the
// kernel would refuse the gid map. With [SubIDs] a privileged program writes the gid map. Then
// everybody can have both, and true is the default.
func Setgroups(allow bool) UnshareOption {
	return func(o *unshareOptions) { o.setgroups = &allow }
}

// OwnerUID makes uid the owner of a new user namespace. [Set.OwnerUID] shows the owner, and so does
// NS_GET_OWNER_UID of ioctl_nsfs(2). The owner has all capabilities in the namespace, from outside
// (user_namespaces(7)), and the namespace counts for the owner's limit. Without this option the
// owner is the caller's effective uid.
//
// The uid is an id of the parent user namespace. The parent is this process's, or the user
// namespace of the Set whose Unshare method is called. The id maps do not depend on the owner: the
// default still maps id 0 to the caller's effective ids.
//
// The kernel takes the owner from the effective uid of the process that makes the namespace
// (create_user_ns in kernel/user_namespace.c). So the helper process changes to uid before. For an
// id other than the caller's own this takes:
//
//   - CAP_SETUID.
//   - CAP_SYS_ADMIN, to write the id maps of a namespace that another user owns; not with
//     [NoIDMaps].
//   - CAP_DAC_OVERRIDE, to open these maps, if the caller's uid is not 0; not with [NoIDMaps].
//   - CAP_SETGID with [SubIDs], and with [IDMaps] of several gids.
//
// If a capability is missing, the error names it, and matches [os.ErrPermission]. In a Set with a
// user namespace of its own the helper process has all of them. No newer kernel is needed.
func OwnerUID(uid uint32) UnshareOption {
	return func(o *unshareOptions) { o.ownerUID = &uid }
}

// MountPropagation is what a new mount namespace does with mount events, see
// mount_namespaces(7).
type MountPropagation uint8

// The propagation types, set recursively on all mounts of a new mount namespace.
const (
	PropagationSlave     MountPropagation = iota // the host's mounts and unmounts arrive, nothing leaks out; the default
	PropagationPrivate                           // nothing goes either way
	PropagationShared                            // both ways, as far as the user namespace allows
	PropagationUnchanged                         // as copied: shared with the host, for a caller in the same user namespace
)

// Propagation sets the propagation of a new mount namespace; the default is
// [PropagationSlave].
func Propagation(p MountPropagation) UnshareOption {
	return func(o *unshareOptions) { o.propagation = &p }
}

// ClockOffsets sets how far the clocks of a new time namespace are ahead of the initial time
// namespace, or behind it if negative. The clocks are CLOCK_MONOTONIC and CLOCK_BOOTTIME. uptime(1)
// shows the second one. Offsets of the time namespace from which it is made do not count. Other
// clocks are not in namespaces: see time_namespaces(7).
//
// A clock cannot be set back to before the boot, nor ahead to more than 146 years: the error then
// matches unix.ERANGE. Writing offsets needs CAP_SYS_TIME in the user namespace that owns the new
// one. Making a user namespace along with it grants that.
func ClockOffsets(monotonic, boottime time.Duration) UnshareOption {
	return func(o *unshareOptions) { o.clockOffsets = &clockOffsets{monotonic, boottime} }
}

// MountProc mounts a fresh procfs on /proc of a new mount namespace, as unshare(1) does with
// --mount-proc. With dirs it mounts on these directories: for example on "/srv/root/proc", for work
// that gets the [Root] "/srv/root". They are absolute paths, as they are found inside. The procfs
// shows the pid namespace that is made along with it, or the one of the Set. The old mount is made
// private before, so that the host keeps its own procfs with every [Propagation].
//
// Threads are always in this process's pid namespace, so a closure in such a mount namespace finds
// no /proc/self. Registered functions run in a process inside both namespaces, and find it.
//
// It needs CAP_SYS_ADMIN in the user namespace that owns the pid namespace. In a user namespace the
// kernel also demands that a procfs is mounted already and hides nothing (mount_too_revealing in
// fs/namespace.c). In many containers /proc hides something. The error matches unix.EPERM.
func MountProc(dirs ...string) UnshareOption { return mountFresh("MountProc", "proc", "/proc", dirs) } // path: where it is mounted

// MountSys mounts a fresh sysfs on /sys of a new mount namespace, or on the directories that are
// given, as [MountProc] does a procfs. Its /sys/class/net, and all else there about networks, shows
// the net namespace that is made along with it, or the one of the Set. Without MountSys a new mount
// namespace has a copy of the old /sys, which shows the host's network. File systems that were
// mounted below the old /sys, such as cgroups, are not in the fresh one.
//
// It needs CAP_SYS_ADMIN in the user namespace that owns the net namespace (sysfs_init_fs_context
// in fs/sysfs/mount.c), and in a user namespace a sysfs that hides nothing, as MountProc does.
func MountSys(dirs ...string) UnshareOption { return mountFresh("MountSys", "sysfs", "/sys", dirs) }

// freshMount is a file system that shows namespaces.
type freshMount struct{ option, fs, dir string }

func mountFresh(option, fs, usual string, dirs []string) UnshareOption {
	if len(dirs) == 0 {
		dirs = []string{usual}
	}
	return func(o *unshareOptions) {
		for _, dir := range dirs {
			o.fresh = append(o.fresh, freshMount{option, fs, dir})
		}
	}
}

// shown are the types that the file systems show.
func (o *unshareOptions) shown() (types Type) {
	for _, m := range o.fresh {
		switch m.fs {
		case "proc":
			types |= PID
		case "sysfs":
			types |= Net
		}
	}
	return types
}

func (m freshMount) check() error {
	if !strings.HasPrefix(m.dir, "/") || len(m.dir) >= 4096 || strings.IndexByte(m.dir, 0) >= 0 {
		return fmt.Errorf("%s: %.100q is no absolute path: %w", m.option, m.dir, os.ErrInvalid)
	}
	return nil
}

// LoopbackUp sets the interface "lo" of a new network namespace up, which gives it 127.0.0.1 and
// ::1. Without LoopbackUp it is down.
func LoopbackUp() UnshareOption { return func(o *unshareOptions) { o.loopbackUp = true } }

// HostFiles lets a process of this program be in a pid namespace of somebody else. Root in there
// may then read and write all files that the process sees. Without HostFiles, Unshare refuses [PID]
// and [MountProc] in a Set that has somebody else's pid namespace and not their mnt namespace. If
// the Set has their mnt namespace, the process uses that, and HostFiles is not needed.
func HostFiles() UnshareOption { return func(o *unshareOptions) { o.hostFiles = true } }

// DoOption changes how work is run.
type DoOption func(*doConfig)

type doConfig struct {
	inThread, inProcess bool
	isolated            bool
	endThread           bool
	waitDelay           time.Duration

	place sys.Place
	bad   error // what is wrong with an option, or with two of them together
}

func doOptions(opts []DoOption) doConfig {
	var c doConfig
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	if c.bad == nil && c.place.Dir != "" && c.place.DirFile != nil {
		c.bad = exclude("Dir", "DirFile")
	}
	if c.bad == nil {
		c.bad = c.checkDirectories()
	}
	if c.bad != nil || !c.inThread {
		return c
	}
	switch {
	case c.isolated:
		c.bad = exclude("InThread", "Isolated")
	case c.inProcess:
		c.bad = exclude("InThread", "InProcess")
	}
	return c
}

// exclude is the error for two options that cannot both be meant.
func exclude(one, other string) error {
	return fmt.Errorf("%s and %s exclude each other: %w", one, other, os.ErrInvalid)
}

// InThread runs a registered function on a thread of this process, even if the Set has a foreign
// mount or pid namespace. In a foreign mount namespace the function fills caches of this process:
// see [Set.Do]. In a foreign pid namespace only its children are inside. If no thread can enter the
// Set, the call fails with [ErrNeedsProcess]. InThread excludes [InProcess] and [Isolated].
func InThread() DoOption { return func(c *doConfig) { c.inThread = true } }

// InProcess runs a registered function in a worker process, even if a thread could run it. If the
// architecture has no process backend (see Systems in the package's documentation), the error
// matches [errors.ErrUnsupported]. InProcess excludes [InThread].
func InProcess() DoOption { return func(c *doConfig) { c.inProcess = true } }

// Isolated runs a registered function in a process of its own. It shares memory with no other call,
// and has ended, with all of its goroutines, when Do returns. Each call starts this program again,
// which takes some milliseconds. Isolated is for functions that change their process for good
// (chroot, limits, capabilities), and for functions that may not stop. The Set's [Worker] holds for
// these processes, too. Isolated excludes [InThread].
func Isolated() DoOption { return func(c *doConfig) { c.inProcess, c.isolated = true, true } }

// EndThread ends the thread with the work, even if the thread could be given back. It is for work
// that changes its thread and does not undo that (capabilities, ids, a namespace that is not in the
// Set). Without EndThread, the thread of a closure is given back if that is possible. The thread of
// a registered function is given back if the function was also registered with [LeavesThreadClean].
func EndThread() DoOption { return func(c *doConfig) { c.endThread = true } }

// WaitDelay bounds the time that [Func.Do] waits for the readers and writers in its argument after
// the function has returned. Do waits for a Read or Write that is under way, and for processes that
// the function left behind and that keep a writer's pipe open. After the delay Do leaves them
// behind, with a goroutine that goes on to use the reader or writer. The error then matches
// [exec.ErrWaitDelay], as with WaitDelay of exec.Cmd. Zero, the default, waits for a Read or Write
// until it returns. WaitDelay is for registered functions only.
func WaitDelay(d time.Duration) DoOption {
	return func(c *doConfig) {
		if c.waitDelay = d; d < 0 && c.bad == nil {
			c.bad = fmt.Errorf("WaitDelay: %v is negative: %w", d, os.ErrInvalid)
		}
	}
}

// Root makes dir, an open directory, the root directory of the work. The file stays the caller's.
// It needs CAP_SYS_CHROOT in the user namespace of the work.
//
// In a Set with a mount namespace that somebody else made, a directory of this program's own mount
// namespace is refused, as with [DirFile]. Root inside could get from it to all of the host's
// files, by /proc/PID/root and "..". Open the directory by [Set.OpenFile] there.
//
// Root, [Dir], [DirFile] and [Umask] are for a closure or a registered function, on both backends
// and in any Set, the zero Set too. They are applied in this order, after the Set's namespaces are
// entered and before the work begins. If one of them fails, the work does not run. They belong to
// the thread of the work, and this thread ends with the work. So a function that starts goroutines
// needs [Isolated], too, and then has them for its whole process.
func Root(dir *os.File) DoOption {
	return func(c *doConfig) {
		c.place.Root = dir
		if dir == nil {
			c.bad = fmt.Errorf("%s: the file is nil: %w", "Root", os.ErrInvalid)
		}
	}
}

// Dir makes path the working directory of the work, see [Root]. The path is looked up inside, below
// Root if that is given. "Relative paths" in the package's documentation says where a relative one
// begins. If it does not exist, the error matches fs.ErrNotExist. In a mount namespace that was
// opened from outside, links of procfs are not followed (ELOOP), as by [Set.OpenFile]. An empty path
// is an error.
func Dir(path string) DoOption {
	return func(c *doConfig) {
		c.place.Dir = path
		if what := badPath(path, wire.MaxDir); what != "" {
			c.bad = fmt.Errorf("%s: %s: %w", "Dir", what, os.ErrInvalid)
		}
	}
}

// DirFile makes dir, an open directory, the working directory of the work, as [Dir] does a path.
// The file stays the caller's. It may be open in any mode, also with O_PATH.
//
// With [Root] the directory must be below the Root. In a Set with a mount namespace that was opened
// from outside, the directory must be in that mount namespace: open it by [Set.OpenFile]. From a
// directory of the host, processes inside could get to all of the host's files by "..". Otherwise
// the error matches fs.ErrPermission.
//
// In other Sets the directory may be outside of the Set's mount namespace. getcwd(2) then returns
// "(unreachable)", and os.Getwd an error. DirFile excludes Dir.
func DirFile(dir *os.File) DoOption {
	return func(c *doConfig) {
		c.place.DirFile = dir
		if dir == nil {
			c.bad = fmt.Errorf("%s: the file is nil: %w", "DirFile", os.ErrInvalid)
		}
	}
}

// badPath says what is wrong with a path of at most so many bytes. It is "" if the path is good.
func badPath(path string, most int) string {
	switch {
	case path == "":
		return "the path is empty"
	case len(path) > most:
		return fmt.Sprintf("a path of %d bytes, %.40q..., is longer than %d", len(path), path, most)
	case strings.IndexByte(path, 0) >= 0:
		return fmt.Sprintf("%.100q has a zero byte", path)
	}
	return ""
}

// Umask sets the mask for the modes of files that the work makes, see [Root].
func Umask(mask int) DoOption {
	return func(c *doConfig) {
		c.place.HasUmask, c.place.Umask = true, uint32(mask)
		if mask < 0 || mask > 0o777 {
			c.bad = fmt.Errorf("%s: %#o is not from 0 to 0777: %w", "Umask", mask, os.ErrInvalid)
		}
	}
}

// FuncOption says what a registered function does, which decides where it runs.
type FuncOption func(*funcConfig)

type funcConfig struct {
	startsGoroutines, leavesThreadClean bool
}

// StartsGoroutines says that the function starts goroutines that must be inside, too, or uses a
// package that does so, such as net. It is also for functions that read /proc/self or /proc/net,
// which mean the process, and cannot read /proc/thread-self instead. The function then runs in a
// process.
//
// A dynamically linked program needs its loader in the Set's mount namespace. If that is missing,
// only threads of the worker can enter the mount namespace, and the call fails with an error that
// matches [errors.ErrUnsupported]. Build the program with CGO_ENABLED=0, or name a static one in
// [Worker].Path.
func StartsGoroutines() FuncOption { return func(c *funcConfig) { c.startsGoroutines = true } }

// LeavesThreadClean says that the function leaves its thread as it found it: not locked, and with
// no namespaces, capabilities, ids, working directory or signal masks changed. In this process the
// thread is then given back, if that is possible. In a worker the function then has no thread of
// its own, which is several times faster. Without this option the thread ends with the function on
// both backends.
func LeavesThreadClean() FuncOption { return func(c *funcConfig) { c.leavesThreadClean = true } }
