// Package gonso runs work inside Linux namespaces.
//
//	s, err := gonso.Unshare(gonso.Net)            // a Set: new namespaces, or opened ones
//	defer s.Close()
//	err = s.Run(func() error { ... })             // a closure, on a thread inside
//	out, err := fn.Do(ctx, s, in)                 // a registered function, on a thread or in a process
//	err = s.Command(ctx, "ip", "addr").Run()      // a program
//
// A [Set] is a collection of namespaces, at most one of each type. Everything else goes from there:
//
//	you want to                                  call
//	make namespaces                              Unshare, Set.Unshare
//	have those of this thread, of a process,     Current, FromPID, FromPIDFD, FromFiles, Open, FromDir
//	  of open files, of files in a directory
//	put Sets together                            Set.With, Set.Without, Set.Dup
//	run a closure                                Set.Run, Set.Do
//	start one that goes on: a server             Set.Go
//	run a function, wherever it has to run       Register, Func.Do
//	run a program; this very program             Set.Command; Set.Self, Cmd.RunAndExit
//	have a socket, a connection, a listener      Set.Socket, Set.DialContext, Set.Dialer, Set.Listen,
//	                                               Set.ListenPacket, Set.ListenConfig
//	list network interfaces                      Set.Interfaces, Set.InterfaceByName
//	resolve names with other servers             Set.Resolver
//	open a file; one of an image                 Set.OpenFile; InRoot
//	keep namespaces beyond the program           Set.Pin, Set.PinNS, Unpin
//	have Sets and workers ready before need      NewPool, Set.Warm
//	say how the worker process is to be          Set.SetWorker
//	look                                         Set.Types, Set.ID, Set.Owner, Set.Parent,
//	                                               Set.OwnerUID, Set.IDMaps, Set.Plan
//	see what is allowed here, and why not        Probe
//	give a library a descriptor                  Set.File, Set.Fd
//	test code of one's own                       package gonsotest
//
// # Two backends
//
// The thread backend: a locked OS thread of this process enters the namespaces. It runs closures,
// and registered functions where a thread does. The process backend: this program is started again
// inside the namespaces, and calls go to it over a socket. Func.Do picks the backend; [Set.Plan] says
// which it would be, and why. Namespaces that this process is in anyway ("home") are never entered: a
// Set from [Current] with one new net namespace costs one setns(2).
//
// What a function is, is said once, when it is registered. Where a call goes, is said with the call,
// and mostly not at all:
//
//	the function ...                        Register option      without it
//	starts goroutines that must be inside   StartsGoroutines     it may run on a thread
//	leaves its thread as it found it        LeavesThreadClean    the thread ends with it
//
//	the call goes to ...                    Do option            without it
//	a thread of this process                InThread             what a thread can do goes to one
//	the Set's worker process                InProcess            what a thread cannot do goes there
//	a process of its own                    Isolated             calls share the worker and its memory
//	a thread that ends with it              EndThread            the thread is given back if it can be
//	another root, directory or umask        Root, Dir, DirFile,  it has those of the process
//	                                          Umask
//
// # How things are said
//
// What one call does differently from another is said with options, which are functions: of
// [Unshare], [Register], [Func.Do], [Set.Run] and [Set.Go]. Most calls have none. Two options that exclude each
// other are an error that names both. What describes a thing that lives on is a struct, whose zero
// value is as if it were not given: [Cmd], [Worker], [PoolOptions]. Only a Set's worker is set by a
// method, [Set.SetWorker], since Sets come from many places.
//
// # Init
//
// [Init] must be called first in main, and in TestMain, of programs that run registered functions: a
// worker is the same program, and Init is where it becomes one. Closures, and everything else in this
// package, do without. Before main has called Init no worker is started: what needs one answers
// [ErrNotInitialized]. [InitElsewhere] is for programs that call the Init of another package.
//
// # What threads cannot do
//
// No thread of a Go program can enter a user namespace (EINVAL in a multi-threaded process, setns(2))
// or a time namespace (EUSERS, time_namespaces(7)). A closure is then refused with [ErrNeedsProcess];
// a registered function goes to a process.
//
// Namespaces belong to threads, not to goroutines: a goroutine started inside a closure is not
// inside, and the standard library starts some of its own, such as those of net.Dial
// ([Set.DialContext] is right wherever it runs). A function that starts goroutines is to be
// registered with [StartsGoroutines].
//
// A thread that joined an ipc or a mnt namespace cannot be given back: setns(2) takes it off the
// process's shared list of semaphore adjustments, and demands for mnt that it share root and working
// directory with no other thread, which cannot be undone. It ends with the work.
//
// What is read in a foreign mnt namespace stays in the caches of the whole process: certificates,
// resolver configuration, time zone, users. Registered functions therefore go to a process if the Set
// has one, unless [InThread] is given.
//
// In a foreign net namespace what names network interfaces fills the cache of the whole process for
// zones of IPv6 addresses: net.Interfaces, net.InterfaceByName, and connections that package net makes
// there with link-local addresses. Up to a minute long "%eth0" then has on the host the index that it
// has inside. [Set.Interfaces], [Set.InterfaceByName] and the sockets of [Set.Dialer] and
// [Set.ListenConfig] leave that cache alone. Closures and functions on a thread do not.
//
// /proc/self and /proc/net mean the process, by its main thread, which is never inside. So on a
// thread /proc/net/dev lists the interfaces outside, /proc/self/ns has the namespaces outside, and
// libraries that read these report the host. In a worker they mean inside. /proc/thread-self/net and
// /proc/thread-self/ns mean inside on both backends (proc(5)). Where the path cannot be chosen, register
// the function with [StartsGoroutines], or call it with [InProcess].
//
// Setting a pid namespace moves the children of a thread, not the thread (pid_namespaces(7)). A
// registered function with a foreign pid namespace always goes to a process.
//
// PR_SET_PDEATHSIG means the thread that started a child, not the process (prctl(2)): such a child,
// started in a closure, may die when that returns.
//
// # Namespaces that are made
//
// With [User], [PID] or [Time] among the types, [Unshare] makes all of them in a helper process of a
// few hundred bytes that shares no memory with this one, otherwise on a thread. The helper is
// short-lived, except for PID.
//
// A new pid namespace gets an init, pid 1 inside, which does nothing but reap orphans. It lives as
// long as a Set that has the namespace: the one that Unshare returned, a Dup of it, one made from it.
// When the last of them is closed, or this process ends, however it does, everything inside is killed
// and the namespace is dead: nothing can be started in it any more (ENOMEM, pid_namespaces(7)), also
// where a descriptor or a bind mount still refers to it. Close does not wait for that. A process that
// this one has started inside, as a closure can, has to be waited for as any other; the kernel keeps
// init until that is done.
//
// A new time namespace takes effect for children alone, and its clocks are set before the first one:
// [ClockOffsets]. A new mount namespace is a slave of the one it was copied from, so that nothing
// leaks to the host while the host's mounts and unmounts still arrive: [Propagation].
//
// # Arguments and results
//
// Arguments and results of registered functions are copied through their encoding on both backends,
// so that a call means the same wherever it runs. They cross as CBOR: exported fields, maps, slices,
// and strings that may be any bytes; up to 64 MiB encoded, nested up to 256 deep. What the result of a
// process takes of this program's memory is bounded by [Worker].MaxResult. Types that hold
// functions or interfaces with methods cannot (but for readers, writers and channels in arguments);
// every Do then returns an error that says so. What an any holds comes back as nil, bool, int64,
// float64, string, []byte, []any, map[string]any or time.Time.
//
// An *os.File crosses as a descriptor, up to 250 of them in a value, anywhere but within an any or the
// key of a map. Files in the argument stay the caller's: the function gets duplicates, which are
// closed when it has returned, so one that keeps a file duplicates it. Files in the result are given
// away: the function's are closed, and what Do returns belongs to its caller. Of results that do not
// block (O_NONBLOCK) only sockets, pipes and devices have deadlines. The descriptors are
// close-on-exec, and share offset and flags with those they were made of (dup(2)). Pipes of less than
// 256 KiB capacity in the argument have that while the call lasts (F_SETPIPE_SZ; where
// /proc/sys/fs/pipe-user-pages-soft allows): with the usual 64 KiB each side would spend its time on
// waiting for the other.
//
// Context values do not cross. The deadline does, and the context of the function ends when, and as,
// that of the caller does. Of errors, what errors.Is and errors.As
// find keeps working for errno, fs.PathError, os.LinkError, os.SyscallError, net.OpError,
// net.DNSError, the sentinels of io, io/fs, os, net and context, gonso's own, and those of
// [RegisterError] and [RegisterErrorType]; others keep their text.
//
// # Readers and writers
//
// An argument may have fields and elements of type io.Reader, io.Writer, io.ReadCloser and
// io.WriteCloser, on both backends. What is in them and is no *os.File is connected by a pipe: the
// function finds one end, an *os.File, and Do copies at the other while the function runs. Do returns
// when what was written has gone to the writers. The function need not close its end: its end is closed
// when it returns. Errors of copying are joined to Do's. Leaving input unread is not an error; what was
// left unread is lost.
//
// If the function left something behind that keeps a writer's pipe open, Do goes on as long as it says
// something and for the grace period ([Worker].Grace) after that, or after ctx is done; the error then
// matches os.ErrDeadlineExceeded. A Read of a reader, or a Write of a writer, that is still under way
// when the function has returned cannot be ended. Do waits for it, as Wait of os/exec does, so that the
// caller can use them again. With the option [WaitDelay] it does not wait longer than that: for a
// connection that may be idle, for example. A terminal is an *os.File, for which nothing is copied.
//
// # Channels
//
// An argument may have fields and elements of type chan<- T, on which the function sends, and <-chan
// T, from which it receives, on both backends: progress, results as they come, work as it is found. T
// is any type that can cross and holds no files, readers, writers or channels; a value has up to 4 MiB
// encoded, and a channel counts as two of the argument's 250 files. The function gets a channel of its
// own, without a buffer. A nil channel arrives as nil.
//
// Of a chan<- T, what the function sends is sent on the caller's channel, in order, while Do runs. So
// somebody has to receive meanwhile, or the channel needs a buffer. The function waits for that: it
// can be 16 values ahead. Do returns when the channel has all that the function has sent, also if it
// panicked; of a worker that died, what it had passed on. Do does not close the channel, as it does
// not close a writer: the caller closes it after Do has returned, and several calls may share one. The
// function may close its own; that only says that it sends no more.
//
// Of a <-chan T, values are taken from the caller's channel as the function receives them, one ahead.
// When the caller closes the channel, the function's is closed once it has received what was sent.
// What it has not received when it returns stays in the caller's channel, but for that one value,
// which is lost. Do then returns, whether or not somebody goes on sending.
//
// When ctx is done, channels go on for half of the grace period ([Worker].Grace), or for a tenth of a
// second if the function has returned. Then they are cut off: what the function sends is dropped, and
// what it receives from is closed, so that one that does not look at its context returns too. Do's
// error then matches that of ctx, also if the function returned none.
//
// Values that cannot cross, because an any holds a function or they are too large, end their channel,
// and the error is joined to Do's: what is sent after that is dropped. Goroutines that the function
// leaves behind have nobody to send to. What comes from a worker and waits for its receiver has one
// bound for all channels of a Set: where 96 MiB are waiting, further large values wait for these.
//
// # Descriptors
//
// A Set owns one descriptor for each of its namespaces that is not home, and one for each user
// namespace between home and its own; a pid namespace that was made has one more, the life line of
// its init. Files handed out by [Set.File] are new descriptors that the caller closes; the number that
// [Set.Fd] gives is the Set's own. All are close-on-exec. A Set that was forgotten is closed after its
// garbage collection. A Set in use keeps what it needs until the work ends, also when it is closed
// meanwhile.
//
// Package init keeps one descriptor, of /proc: something else could be mounted there before the first
// call, or the program could have another root by then. It also looks at which namespaces the program is
// in. Threads are given back by setns to these: the first call that needs one of them opens and keeps a
// descriptor of it, up to eight in all. It is found by a thread that is there still, also if the call comes
// from a thread that is elsewhere.
//
// # Privileges
//
// Making or joining namespaces needs CAP_SYS_ADMIN in the user namespace that owns them, and joining
// also in one's own (setns(2)); mnt needs CAP_SYS_CHROOT too. [Set.Pin] needs it in the user namespace
// that owns the mount namespace. [Unshare] with [User] among the types needs nothing where the system
// allows unprivileged user namespaces. Joining a user namespace gives all capabilities in it and takes
// those outside away (user_namespaces(7)). A worker joins what it has to before that, and is then root
// inside, if id 0 is mapped there and [Worker].KeepIDs is not set. A refusal is an [*Error] whose Hint,
// if there is one, comes from what was found afterwards: sysctls, seccomp, capabilities.
//
// A plain user's program that has capabilities by its file (setcap(8)) makes and enters namespaces with
// them, in processes too, but programs that it runs do not have them (capabilities(7)). It
// cannot be a worker outside of a user namespace, or whoever starts it could choose what it runs.
//
// # Somebody else's Set
//
// A Set counts as somebody else's where it has user, pid or mnt namespaces that were opened from
// outside, or made inside such. Root there may be hostile. What runs there by way of gonso has none of
// this process's memory, descriptors, terminal or groups; [Set.OpenFile] opens ordinary files only
// ([AnyFile]); a dynamically linked program is refused ([Worker].DynamicLoader); and a Set with their
// pid namespace needs their mnt namespace too ([HostFiles]). SECURITY.md has the rules.
//
// # Systems
//
// Linux 5.10 or later with /proc mounted. The thread backend exists on every architecture, the process
// backend on 386, amd64, arm, arm64, loong64, mips64le, ppc64le, riscv64 and s390x. On other systems
// the package compiles, and what it cannot do answers an error matching [errors.ErrUnsupported].
package gonso
