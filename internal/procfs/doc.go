// Package procfs is this process's own procfs. It holds to one rule: nothing inside is asked.
//
// gonso enters namespaces that somebody hostile may control. There every path is theirs to choose:
// what is at /proc can be a procfs of other processes, a FIFO that nobody writes to, or files that
// look like procfs. So this process reads and writes below /proc only by way of a descriptor that it
// holds since package init, and which was found to be of a procfs. A thread that is in somebody
// else's mnt namespace may do that, and needs no /proc there.
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
// What has to be a path, such as the file that a child executes or what umount(2) takes, is resolved
// on a thread that is at home: see [AtHome]. A program that closes all descriptors closes this one as
// well; it is opened again if it is the same procfs.
package procfs
