// Package procfs is this process's own procfs. Its one rule: it never reads a /proc inside.
//
// gonso enters namespaces that somebody hostile may control. There, that somebody decides what each
// path leads to: /proc can be a procfs of other processes, a FIFO that nobody writes to, or files
// that look like procfs. So this process reads and writes below /proc only through a descriptor
// that it has held since package init, and that it has checked to be of a procfs. A thread that is
// in somebody else's mnt namespace may do that, and needs no /proc there.
//
// At home, too, /proc may be wrong, with no attacker around: "unshare --fork --pid prog" gives prog a
// pid namespace of its own and leaves it the /proc of the outer one, where the numbers that prog
// knows are other processes. So ids of processes are translated, by way of a pidfd, or refused:
//
//   - self and thread-self are right in every procfs: the kernel knows who asks. Where this process
//     is not to be seen in a procfs, they are missing.
//   - An id is right by itself only in the procfs of this process's own pid namespace. Whose it is
//     says NSpid in self/status: it has one id for each pid namespace from that of the procfs down to
//     the process's own (proc_pid_status(5)).
//   - fdinfo of a pidfd has the id as that procfs has it.
//
// Some calls need a path, such as the file that a child executes, or the argument of umount(2).
// That path is resolved on a thread that is at home: see [AtHome]. A program that closes all
// descriptors closes this one, too. It is opened again if /proc is still the same procfs.
package procfs
