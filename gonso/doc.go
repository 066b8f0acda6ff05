// Package gonso runs work inside Linux namespaces.
//
//	s, err := gonso.Unshare(gonso.Net)        // a Set: new namespaces, or opened ones
//	defer s.Close()
//	err = s.Run(func() error { ... })         // a closure, on a thread inside
//	out, err := fn.Do(ctx, s, in)             // a registered function, in a thread or process
//	err = s.Command(ctx, "ip", "addr").Run()  // a program
//
// A [Set] is a collection of namespaces, at most one of each type. These are the calls:
//
//	you want to                                  call
//	make namespaces                              Unshare, Set.Unshare
//	open those of this thread, of a process,     Current, FromPID, FromPIDFD, FromFiles,
//	  of open files, of files in a directory       Open, FromDir
//	put Sets together                            Set.With, Set.Without, Set.Dup
//	run a closure                                Set.Run, Set.Do
//	run one in the background: a server          Set.Go
//	run a function, wherever it has to run       Register, Func.Do
//	run a program; this very program             Set.Command; Set.Self, Cmd.RunAndExit
//	wait until no process is left                Set.Wait
//	make a socket, a connection, a listener      Set.Socket, Set.DialContext, Set.Dialer,
//	                                               Set.Listen, Set.ListenPacket, Set.ListenConfig
//	list network interfaces                      Set.Interfaces, Set.InterfaceByName
//	resolve names with other servers             Set.Resolver
//	open a file; one of an image                 Set.OpenFile; InRoot
//	keep namespaces beyond the program           Set.Pin, Set.PinNS, Unpin
//	have Sets and workers ready in advance       NewPool, Set.Warm
//	set up the worker process                    Set.SetWorker
//	look at a Set                                Set.Types, Set.ID, Set.Owner, Set.Parent,
//	                                               Set.OwnerUID, Set.IDMaps, Set.Plan
//	see what is allowed here, and why not        Probe
//	give a library a descriptor                  Set.File, Set.Fd
//	test code of one's own                       package gonsotest
//
// # Two backends
//
// The thread backend: a locked thread of this process enters the namespaces. It runs closures, and
// registered functions if a thread can do their work.
//
// The process backend: a worker process runs inside the namespaces. It is this program, started
// again. Calls go to it over two pipes.
//
// Func.Do chooses the backend. [Set.Plan] says which one it would be, and why.
//
// A Set may have namespaces that are this program's own. They are called "home". Work makes sure of
// these, too, so that a thread that other code has moved does no harm: see type [Set].
//
// An option of Register says what the function is like. An option of Do says where a call goes.
// Most functions and most calls need neither:
//
//	the function ...                        Register option    without the option
//	starts goroutines that must be inside   StartsGoroutines   it may run on a thread
//	leaves its thread as it found it        LeavesThreadClean  the thread ends with it
//
//	the call goes to ...                    Do option          without the option
//	a thread of this process                InThread           a thread, if a thread can do it
//	the Set's worker process                InProcess          the worker, if no thread can do it
//	a process of its own                    Isolated           calls share the worker's memory
//	a thread that ends with it              EndThread          the thread is given back if possible
//	another root, directory or umask        Root, Dir,         those of the process
//	                                          DirFile, Umask
//
// # Options and structs
//
// Options change what one call does. They are functions: see [Unshare], [Register], [Func.Do],
// [Set.Run] and [Set.Go]. Two options that exclude each other are an error that names both.
//
// Structs describe a thing that lives on: [Cmd], [Worker], [PoolOptions]. The zero value of each
// field is the default. A method, [Set.SetWorker], sets a Set's worker, because Sets come from many
// calls.
//
// # Init
//
// [Init] must be the first call in main, and in TestMain, of a program that needs a worker. A
// worker is the same program, started again: in Init it becomes the worker.
//
// These need a worker:
//
//   - registered functions that go to a process,
//   - sockets, connections, listeners, interfaces and files inside, if the Set has a user or time
//     namespace,
//   - names that are resolved in a Set with a mnt namespace.
//
// Closures and commands need no worker. If main has not called Init, no worker is started, and the
// call returns [ErrNotInitialized]. A program whose main calls the Init of another package uses
// [InitElsewhere].
//
// # What threads cannot do
//
// User and time namespaces: no thread of a Go program can enter them (EINVAL, setns(2); EUSERS,
// time_namespaces(7)). A closure is refused with [ErrNeedsProcess]. A registered function goes to a
// process.
//
// Goroutines: a namespace belongs to a thread, and not to a goroutine. A goroutine that a closure
// starts is not inside. The standard library starts some, for example in net.Dial.
// [Set.DialContext] is right in every goroutine. Register a function with [StartsGoroutines] if it
// starts goroutines.
//
// Ipc and mnt namespaces: a thread that has joined one cannot be given back, and ends with the
// work. For ipc, setns(2) takes the thread's SysV semaphore undo state (SEM_UNDO) away. For mnt,
// the thread no longer shares root and working directory with the other threads of the process.
//
// Caches after work in a mnt namespace: certificates, resolver configuration, time zone and users
// are read once for the whole process. If they were read inside, the program goes on to use them
// outside. So registered functions go to a process if the Set has a foreign mnt namespace.
// [InThread] changes that.
//
// Caches after work in a net namespace: package net keeps the indexes of interfaces for the zones
// of IPv6 addresses. net.Interfaces, net.InterfaceByName and connections with link-local addresses
// fill that cache. For up to a minute "%eth0" then means on the host the index that it has inside.
// A closure, and a function on a thread, fill it. [Set.Interfaces], [Set.InterfaceByName] and the
// sockets of [Set.Dialer] and [Set.ListenConfig] do not.
//
// /proc/self and /proc/net: they mean the main thread of the process, which is never inside. On a
// thread /proc/net/dev lists the interfaces outside, and libraries that read it report the host.
// /proc/thread-self/net and /proc/thread-self/ns mean inside on both backends (proc(5)). If a
// library chooses the path, register the function with [StartsGoroutines], or call it with
// [InProcess]: in a worker all of these mean inside.
//
// Pid namespaces: setns(2) moves the later children of a thread, and not the thread
// (pid_namespaces(7)). A registered function always goes to a process if the Set has a foreign pid
// namespace.
//
// PR_SET_PDEATHSIG: it means the thread that started the child, and not the process (prctl(2)). A
// child with this signal that a closure has started may die when the closure returns.
//
// # Namespaces that are made
//
// [Unshare] makes namespaces on a thread. If [User], [PID] or [Time] is among the types, a helper
// process makes all of them. It is a few hundred bytes large and shares no memory with this
// process. It ends at once, but for PID.
//
// A new pid namespace gets an init, pid 1 inside, which reaps orphans and does nothing else. The
// init lives as long as a Set has the namespace: the Set from Unshare, its Dup, a Set made from it.
// A command uses its Set until Wait has returned. When the last Set is closed and unused, or this
// process ends in any way, everything inside is killed. After that nothing can be started in the
// namespace (ENOMEM, pid_namespaces(7)), even if a descriptor or a bind mount still refers to it.
// Close does not wait for that, and [Set.Wait] does. A child of this process that is inside has to
// be waited for like any other child. The kernel keeps the init until then.
//
// A new time namespace works for children only. [ClockOffsets] sets its clocks before the first
// child.
//
// A new mnt namespace is a slave of the one that it was copied from: its mounts do not reach the
// host, and the host's mounts and unmounts reach it. [Propagation] changes that.
//
// # Values
//
// The argument and the result of a registered function are encoded and decoded on both backends. So
// a call means the same on a thread and in a process.
//
// These values cross, as CBOR: exported fields, maps, slices, and strings of any bytes. A value has
// up to 64 MiB encoded, and is nested up to 256 deep. [Worker].MaxResult bounds the memory of this
// program that a result from a worker may take. An any comes back as nil, bool, int64, float64,
// string, []byte, []any, map[string]any or time.Time, and an integer beyond int64 as *big.Int.
//
// Functions do not cross, nor do interfaces with methods, except the readers, writers and channels
// below. If a type has them, every Do returns an error that says so.
//
// Values of a context do not cross. Its deadline does. The context of the function ends when the
// caller's context ends, and with the same error.
//
// # Files
//
// An [*os.File] crosses as a descriptor. A value holds up to 250 of them, in any place except an
// any and the key of a map.
//
// Files in the argument stay the caller's. The function gets duplicates, which are closed when it
// returns. A function that keeps a file has to duplicate it. Files in the result are given away:
// the function's own are closed, and the files that Do returns belong to its caller. The standard
// streams of the function's process stay open.
//
// The descriptors are close-on-exec. They share offset and flags with the files that they were made
// of (dup(2)). If a file of the result is in non-blocking mode (O_NONBLOCK), it has deadlines if it
// is a socket, a pipe or a device.
//
// A directory from outside leads to the mounts of outside, also inside another mnt namespace. It
// does not lead to mounts inside, even if they are on a directory of the same name. And the kernel
// makes no mounts from it: bind mounts, and the directories of an overlay, must be in the mnt
// namespace of the caller (EINVAL, mount(2)). For these, pass the path as the argument, and open it
// in the function.
//
// A pipe in the argument is made 256 KiB wide while the call lasts, if it was smaller
// (F_SETPIPE_SZ, as far as /proc/sys/fs/pipe-user-pages-soft allows). With the usual 64 KiB both
// sides would mostly wait for each other.
//
// # Streams
//
// An argument may have fields and elements of the types io.Reader, io.Writer, io.ReadCloser,
// io.WriteCloser, chan<- T and <-chan T, on both backends.
//
// A reader or writer crosses as a pipe. The function finds one end, an *os.File. Do copies at the
// other end while the function runs. A reader or writer that is an *os.File crosses as that file,
// and nothing is copied: a terminal stays a terminal.
//
//   - Do returns when the writers have all that was written.
//   - The function need not close its end: its end is closed when it returns.
//   - Leaving input unread is not an error. The rest of the input is lost.
//   - Errors of copying are joined to the error of Do.
//
// The function may leave a process behind that keeps a writer's pipe open. Then Do goes on while
// output comes. It ends the grace period ([Worker].Grace) after the last output, or after the end
// of ctx. The error then matches os.ErrDeadlineExceeded.
//
// Do cannot end a Read or Write of the caller's reader or writer. It waits for that, as Wait of
// os/exec does, so that the caller can use them again. [WaitDelay] bounds the wait: for example for
// a connection that may be idle.
//
// When ctx ends while the function runs, the pipes go on for half of the grace period. After that
// they are closed: what the function reads ends, and what it writes fails with EPIPE. So a function
// that does not look at its context returns, too. The error of Do then matches the error of ctx,
// even if the function returned no error. A reader or writer that is an *os.File has no pipe, and
// goes on.
//
// A channel carries values one by one: the function sends on a chan<- T, and receives from a <-chan
// T. T is any type that crosses and has no files, readers, writers or channels. A value has up to 4
// MiB encoded. A channel counts as two of the 250 files. The function gets a channel of its own,
// without a buffer. A nil channel arrives as nil.
//
// For a chan<- T, Do sends the function's values on the caller's channel, in order. The caller
// has to receive while Do runs, or the channel needs a buffer. The function can be 16 values ahead,
// and then waits. Do returns when the channel has all values that the function has sent, also if
// the function panicked. After the death of a worker it has all values that the worker had passed
// on. Do does not close the channel: the caller does that after Do has returned. So several calls
// can share one channel. A function that closes its channel says only that it sends no more.
//
// For a <-chan T, Do takes values from the caller's channel as the function receives them, one
// ahead. When the caller closes the channel, the function's channel is closed after the last value.
// Values that the function does not receive stay in the caller's channel, except the one that was
// taken ahead, which is lost. Do returns even if the caller goes on sending.
//
// When ctx ends, channels go on for half of the grace period ([Worker].Grace), or for a tenth of a
// second if the function has returned. After that, values that the function sends are dropped, and
// the channels from which it receives are closed. So a function that does not look at its context
// returns, too. The error of Do then matches the error of ctx, even if the function returned no
// error.
//
// A value that cannot cross ends its channel: an any that holds a function, or a value that is too
// large. The error is joined to the error of Do, and later values are dropped. Goroutines that the
// function leaves behind can send to nobody. All channels of a Set share one bound for values that
// wait for their receivers: while 96 MiB are waiting, further large values wait, too.
//
// # Errors
//
// The text of an error always crosses. errors.Is and errors.As find these after it has crossed:
//
//   - errno,
//   - fs.PathError, os.LinkError, os.SyscallError, net.OpError, net.DNSError,
//   - the sentinels of io, io/fs, os, net, context and errors,
//   - gonso's own errors,
//   - errors that the program registers with [RegisterError] and [RegisterErrorType].
//
// What the methods Timeout and Temporary of an error say crosses, too. So net.Error and
// os.IsTimeout mean the same on both sides.
//
// A refusal by the kernel is an [*Error]. It has a Hint if gonso found the cause: a sysctl, a
// seccomp filter, a missing capability.
//
// # Descriptors
//
// A Set owns one descriptor for each of its namespaces that is not home, and one for each user
// namespace between home and its own. A pid namespace that was made has one more, the life line of
// its init. [Set.File] makes new descriptors, which the caller closes. [Set.Fd] gives the number of
// the Set's own. All are close-on-exec.
//
// The garbage collector closes a Set that nothing refers to. A Set that is closed while work runs
// in it keeps what the work needs until the work ends.
//
// Package init keeps one descriptor of /proc, because something else could be mounted there before
// the first call, or the program could have another root by then. It also notes the namespaces that
// the program is in. A thread is given back by setns(2) to these. The first call that needs one of
// them opens a descriptor of it and keeps it, up to eight in all. The call may come from a thread
// that is elsewhere: the namespace is found by a thread that is at home.
//
// # Privileges
//
// To make a namespace takes CAP_SYS_ADMIN in the user namespace that owns it. To join one takes the
// same, and also CAP_SYS_ADMIN in one's own user namespace (setns(2)). For mnt it takes
// CAP_SYS_CHROOT, too. [Set.Pin] takes CAP_SYS_ADMIN in the user namespace that owns the mnt
// namespace.
//
// [Unshare] takes no privilege if [User] is among the types and the system allows unprivileged user
// namespaces.
//
// A process that joins a user namespace gets all capabilities in it, and loses the capabilities
// outside (user_namespaces(7)). A worker first joins the namespaces that need the capabilities
// outside. It is then root inside, if id 0 is mapped there and [Worker].KeepIDs is not set.
//
// A plain user's program may have capabilities by its file (setcap(8)). It makes and enters
// namespaces with them, in processes too. Programs that it runs do not have them (capabilities(7)).
// Such a program cannot be a worker outside of a user namespace: any user who starts it could
// choose what it runs.
//
// # Relative paths
//
// A relative path begins at the working directory of this program: in [Set.OpenFile] and [InRoot],
// [Dir], Dir and Chroot of [Cmd], and names of unix sockets. In a Set whose mount namespace
// [Unshare] has copied from this program's, the path of that directory is looked up inside. If
// somebody else has made that namespace, or a user or pid namespace of such a Set, relative paths
// are refused with an error that matches [os.ErrInvalid]. In a Set without a mount namespace, the
// worker looks paths up from its own working directory: [Worker].Dir, or the directory in which
// this program was when the worker was started.
//
// Names below InRoot begin there, and a Dir below [Root] or Chroot begins at that root. Code inside
// has its own working directory: in another mount namespace that is the root directory without Dir.
//
// # Somebody else's Set
//
// A Set is somebody else's if it has a user, pid or mnt namespace that was opened from outside, or
// was made inside such a namespace. Root in there may be hostile. Rules for such a Set:
//
//   - Processes inside have no memory, descriptors, terminal or groups of this process.
//   - [Set.OpenFile] opens ordinary files only. [AnyFile] lifts that.
//   - A dynamically linked program is refused. [Worker].DynamicLoader lifts that.
//   - With their pid namespace the Set needs their mnt namespace, too. [HostFiles] lifts that.
//
// SECURITY.md has all rules.
//
// # Systems
//
// gonso needs Linux 5.10 or later, with /proc mounted. The thread backend works on every
// architecture. The process backend works on 386, amd64, arm, arm64, loong64, mips64le, ppc64le,
// riscv64 and s390x. On other systems the package compiles, and a call that cannot work there
// returns an error that matches [errors.ErrUnsupported]. So does making a namespace of a type that
// the kernel was built without. Time namespaces are missing on 32-bit ARM, for example.
package gonso
