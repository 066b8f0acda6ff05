package gonso

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// In a mount namespace that somebody else made, gonso looks a name up before it opens the file. It
// does so with O_PATH, which has no effect on the file, and follows no magic links. It checks the
// file that it has found, and then opens that same file. So nobody can put another file there in
// between.

// caution says who made the names in a mount namespace, and which files are opened there.
type caution uint8

const (
	ownFile      caution = iota // this program made them: every file that os.OpenFile opens
	anyFile                     // somebody else, with AnyFile: every file, but by no magic link
	ordinaryFile                // somebody else: only files that hold data, and by no magic link
	socketFile                  // somebody else: only a socket to connect to, and by no magic link
	ownSocket                   // this program: only a socket to connect to
)

// found is the file that a name meant.
type found struct {
	fd   int // with O_PATH
	stat unix.Stat_t
}

// find looks a name up below a directory. Of flag, the flags of open(2), only O_NOFOLLOW and
// O_DIRECTORY count.
func find(dirfd int, name string, flag int) (*found, error) {
	return findBy(dirfd, name, flag, unix.RESOLVE_NO_MAGICLINKS)
}

func findBy(dirfd int, name string, flag int, resolve uint64) (*found, error) {
	fd, err := openat2(dirfd, name, &unix.OpenHow{
		Flags: uint64(unix.O_PATH | unix.O_CLOEXEC | flag&(unix.O_NOFOLLOW|unix.O_DIRECTORY)), Resolve: resolve,
	})
	if err != nil {
		return nil, err
	}
	w := &found{fd: fd}
	if err := unix.Fstat(fd, &w.stat); err != nil {
		w.close()
		return nil, os.NewSyscallError("fstat", err)
	}
	return w, nil
}

func (w *found) close() { unix.Close(w.fd) }

func (w *found) is(format uint32) bool { return w.stat.Mode&unix.S_IFMT == format }

// ordinary is nil for a regular file, a directory or a symbolic link on an ordinary file system.
func (w *found) ordinary() error {
	if what := w.special(); what != "" {
		return &notOrdinary{what}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(w.fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	magic := uint32(fs.Type)
	if _, ok := ordinaryFileSystems[magic]; ok {
		return nil
	}
	if name := kernelFileSystems[magic]; name != "" {
		return &notOrdinary{"on " + name}
	}
	return &notOrdinary{fmt.Sprintf("on a file system that gonso does not know, of type %#x", magic)}
}

// special names the kind of a file that is not a regular file, directory or link. For these three
// it is "".
func (w *found) special() string {
	device := func(kind string) string {
		return fmt.Sprintf("a %s device %d:%d", kind, unix.Major(uint64(w.stat.Rdev)), unix.Minor(uint64(w.stat.Rdev)))
	}
	switch w.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		return ""
	case unix.S_IFCHR:
		return device("character")
	case unix.S_IFBLK:
		return device("block")
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return fmt.Sprintf("of no known kind, mode %#o", w.stat.Mode)
}

// notOrdinary is why a file was not opened. It matches os.ErrPermission.
type notOrdinary struct{ what string }

func (e *notOrdinary) Error() string {
	return "it is " + e.what + ", and in a mount namespace that somebody else made only regular files and directories on " +
		"ordinary file systems are opened: gonso.AnyFile() lifts that"
}

func (*notOrdinary) Is(target error) bool { return target == os.ErrPermission }

// ordinaryFileSystems are file systems whose files only hold the data that was written to them. To
// open, read or write such a file has no other effect. The list names the allowed file systems, and
// not the forbidden ones, because new kernels bring new file systems that show or change the
// kernel. A file system that is missing here needs AnyFile. statfs(2) tells file systems apart, and
// nobody inside can forge its answer: FUSE and stacked file systems have numbers of their own.
var ordinaryFileSystems = map[uint32]struct{}{
	// On disks and in images.
	unix.EXT4_SUPER_MAGIC:     {}, // ext2 and ext3 too
	unix.XFS_SUPER_MAGIC:      {},
	unix.BTRFS_SUPER_MAGIC:    {},
	unix.F2FS_SUPER_MAGIC:     {},
	unix.BCACHEFS_SUPER_MAGIC: {},
	unix.SQUASHFS_MAGIC:       {},
	unix.EROFS_SUPER_MAGIC_V1: {},
	unix.CRAMFS_MAGIC:         {},
	unix.ISOFS_SUPER_MAGIC:    {},
	unix.UDF_SUPER_MAGIC:      {},
	unix.MSDOS_SUPER_MAGIC:    {},
	unix.EXFAT_SUPER_MAGIC:    {},
	0x7366746e:                {}, // ntfs3
	0x5346544e:                {}, // ntfs
	unix.JFFS2_SUPER_MAGIC:    {},
	0x24051905:                {}, // ubifs
	unix.NILFS_SUPER_MAGIC:    {},
	unix.REISERFS_SUPER_MAGIC: {},
	0x3153464a:                {}, // jfs
	unix.OCFS2_SUPER_MAGIC:    {},
	0x01161970:                {}, // gfs2
	0x482b:                    {}, // hfs+
	unix.MINIX3_SUPER_MAGIC:   {},
	0x2fc12fc1:                {}, // zfs
	// In memory. devtmpfs has the same number: its devices are refused because they are devices.
	unix.TMPFS_MAGIC: {},
	unix.RAMFS_MAGIC: {},
	// Stacked on others. The kernel stacks no file system on procfs.
	unix.OVERLAYFS_SUPER_MAGIC: {},
	unix.ECRYPTFS_SUPER_MAGIC:  {},
	0x61756673:                 {}, // aufs
	0x6a656a62:                 {}, // shiftfs
	// From the network, from hosts and from programs. They can keep the caller waiting.
	unix.NFS_SUPER_MAGIC:  {},
	unix.FUSE_SUPER_MAGIC: {}, // virtiofs, fuse-overlayfs, sshfs, glusterfs
	unix.V9FS_MAGIC:       {}, // 9p, gVisor
	unix.CIFS_SUPER_MAGIC: {},
	unix.SMB2_SUPER_MAGIC: {},
	unix.CEPH_SUPER_MAGIC: {},
	unix.AFS_FS_MAGIC:     {}, // kAFS
	unix.AFS_SUPER_MAGIC:  {}, // OpenAFS
	0x0bd00bd0:            {}, // lustre
	0x47504653:            {}, // gpfs
	0x19830326:            {}, // beegfs
	0x20030528:            {}, // orangefs
	0x786f4256:            {}, // vboxsf
	0xbacbacbc:            {}, // vmhgfs
	0x7c7c6673:            {}, // prl_fs
	0x53464846:            {}, // WSL's
}

// kernelFileSystems are named in errors. A read there gives each process another answer, a write is
// a command to the kernel, and opening alone can have effects.
var kernelFileSystems = map[uint32]string{
	unix.PROC_SUPER_MAGIC:      "procfs, which shows who opens it and rules the kernel",
	unix.SYSFS_MAGIC:           "sysfs, which rules the kernel",
	unix.CGROUP_SUPER_MAGIC:    "cgroupfs, which rules processes",
	unix.CGROUP2_SUPER_MAGIC:   "cgroup2fs, which rules processes",
	0x1373d7:                   "devfs, of devices",
	unix.DEVPTS_SUPER_MAGIC:    "devptsfs, of terminals",
	unix.DEBUGFS_MAGIC:         "debugfs, which rules the kernel",
	unix.TRACEFS_MAGIC:         "tracefs, which watches the kernel",
	unix.SECURITYFS_MAGIC:      "securityfs, which rules the kernel",
	unix.SELINUX_MAGIC:         "selinuxfs, which rules the kernel",
	unix.SMACK_MAGIC:           "smackfs, which rules the kernel",
	unix.AAFS_MAGIC:            "apparmorfs, which rules the kernel",
	unix.BPF_FS_MAGIC:          "bpffs, of programs in the kernel",
	unix.BINFMTFS_MAGIC:        "binfmt_miscfs, which rules what runs programs",
	0x62656570:                 "configfs, which rules the kernel",
	unix.EFIVARFS_MAGIC:        "efivarfs, which rules the firmware",
	unix.PSTOREFS_MAGIC:        "pstorefs, of the kernel's last words",
	unix.NSFS_MAGIC:            "nsfs, of namespaces: gonso.Open opens those",
	unix.PID_FS_MAGIC:          "pidfs, of processes",
	0x65735543:                 "fusectlfs, which rules FUSE",
	0x19800202:                 "mqueuefs, whose files are queues",
	unix.HUGETLBFS_MAGIC:       "hugetlbfs, whose files take the host's memory",
	unix.AUTOFS_SUPER_MAGIC:    "autofs, which mounts what is looked for",
	unix.RDTGROUP_SUPER_MAGIC:  "resctrlfs, which rules processors",
	unix.XENFS_SUPER_MAGIC:     "xenfs, which rules the hypervisor",
	unix.BINDERFS_SUPER_MAGIC:  "binderfs, of devices",
	unix.PIPEFS_MAGIC:          "pipefs",
	unix.SOCKFS_MAGIC:          "sockfs",
	unix.SECRETMEM_MAGIC:       "secretmemfs",
	unix.ANON_INODE_FS_MAGIC:   "anon_inodefs",
	unix.USBDEVICE_SUPER_MAGIC: "usbfs, of devices",
}
