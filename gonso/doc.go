// Package gonso runs work inside Linux namespaces.
//
// A [Set] is a collection of namespaces, at most one of each type. It comes
// from [Unshare], [Current], [Open], [FromFiles], [FromPID], [FromPIDFD] or
// [FromDir], and work runs in it by one of two backends:
//
//   - the thread backend: a locked OS thread of this process enters the
//     namespaces. It runs closures, with [Set.Run] and [Set.Do], and registered
//     functions where a thread does.
//   - the process backend: this program is started again inside the namespaces
//     and calls go to it over a socket. It runs functions made known with
//     [Register], with [Func.Do].
//
// Func.Do picks the backend; [Set.Plan] says which it would be and why.
// Namespaces that this process is in anyway ("home") are never entered: a Set
// from [Current] with one new net namespace costs one setns(2).
//
// # Rules that surprise
//
// No thread of a Go program can enter a user namespace (EINVAL in a
// multi-threaded process, setns(2)) or a time namespace (EUSERS,
// time_namespaces(7)). A closure is then refused with [ErrNeedsProcess]; a
// registered function goes to a process.
//
// Namespaces belong to threads, not to goroutines: a goroutine started inside a
// closure is not inside, and the standard library starts some of its own, such
// as those of net.Dial ([Set.DialContext] is right wherever it runs). A function
// that starts goroutines is to be registered
// with [StartsGoroutines].
//
// A thread that joined an ipc or a mnt namespace cannot be given back: setns(2)
// takes it off the process's shared list of semaphore adjustments, and demands
// for mnt that it share root and working directory with no other thread, which
// cannot be undone. It ends with the work.
//
// What is read in a foreign mnt namespace stays in the caches of the whole
// process: certificates, resolver configuration, time zone, users. Registered
// functions therefore go to a process if the Set has one, unless [InThread] is
// given.
//
// Setting a pid namespace moves the children of a thread, not the thread
// (pid_namespaces(7)). A registered function with a foreign pid namespace always
// goes to a process. A pid namespace that [Unshare] made has an init of gonso's,
// and dies with the last Set that has it.
//
// A time namespace takes effect for children alone, and its clocks are set before
// the first one: [ClockOffsets].
//
// PR_SET_PDEATHSIG means the thread that started a child, not the process
// (prctl(2)): such a child, started in a closure, may die when that returns.
//
// Joining a user namespace gives all capabilities in it and takes those outside
// away (user_namespaces(7)). A worker joins what it has to before that, and is
// then root inside, if id 0 is mapped there and [Worker].KeepIDs is not set.
//
// # Programs
//
// [Set.Command] runs a program in a Set, as package exec does outside; [Set.Self]
// is this program, and [Cmd.RunAndExit] has it take this one's place.
//
// # Sockets and files
//
// A socket belongs to the net namespace where socket(2) was called. [Set.Dialer],
// [Set.ListenConfig] and their short forms [Set.DialContext], [Set.Listen] and
// [Set.ListenPacket] have package net use sockets that were made inside;
// [Set.OpenFile] opens a file there. Registered functions take and return files,
// see [Register].
//
// # Ahead of need
//
// A [Pool] has Sets ready that a function of the caller's made; [Set.Warm] starts
// a Set's worker before the first call. [Set.Pin] keeps namespaces beyond the
// program. Package gonsotest has helpers for tests.
//
// # Init
//
// [Init] must be called first in main, and in TestMain, of programs that run
// registered functions: a worker is the same program, and Init is where it
// becomes one. Closures, and everything else in this package, do without. A
// worker whose main does not call Init starts no processes, and its parent
// answers [ErrNotInitialized] after a limited wait.
//
// # Descriptors
//
// A Set owns one descriptor for each of its namespaces that is not home, and one
// for each user namespace between home and its own; a pid namespace that was made
// has one more, the life line of its init. Files handed out by
// [Set.File] are new descriptors that the caller closes. All are close-on-exec. A
// Set that was forgotten is closed after its garbage collection; one in use keeps
// what it needs until the work ends, also when it is closed meanwhile.
//
// Package init opens this process's own namespaces, up to eight descriptors,
// and keeps them: threads are given back by setns to these.
//
// # Privileges
//
// Making or joining namespaces needs CAP_SYS_ADMIN in the user namespace that
// owns them, and joining also in one's own (setns(2)); mnt needs CAP_SYS_CHROOT
// too. [Set.Pin] needs it in the user namespace that owns the mount namespace.
// [Unshare] with [User] among the types needs nothing where the system allows
// unprivileged user namespaces. A refusal is an [*Error] whose Hint, if there is
// one, comes from what was found afterwards: sysctls, seccomp, capabilities.
//
// # Systems
//
// Linux 5.10 or later with /proc mounted. The process backend exists on amd64 and
// arm64, the thread backend on every architecture. On other systems the package
// compiles, and what it cannot do answers an error matching
// [errors.ErrUnsupported].
package gonso
