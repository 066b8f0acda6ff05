package reexec

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// Join is one namespace that a started process joins.
type Join struct {
	Type uint32   // CLONE_NEW*
	File *os.File // belongs to the caller, who keeps it open during the call
	// MayFail: a refusal with EPERM is not an error, because there is another try after the user
	// namespace is joined. Again is that other try. It is made only if the first was refused.
	MayFail, Again bool
}

// CLONE_NEW* of the types that make a difference to launches.
const (
	newUser = 0x10000000
	newPID  = 0x20000000
)

func joinsType(joins []Join, typ uint32) bool {
	return slices.ContainsFunc(joins, func(j Join) bool { return j.Type == typ })
}

// Creation says which namespaces Create makes and how.
type Creation struct {
	Join    []Join // joined first; the new namespaces are owned by these, and made from them
	Unshare uint32 // CLONE_NEW*
	// UIDMap and GIDMap are written as they are. An empty one is not written. If Join has a user
	// namespace, they are relative to it.
	UIDMap, GIDMap string
	DenySetgroups  bool
	OwnerUID       *uint32 // owner of a new user namespace; nil is the launcher's own effective uid
	ClockOffsets   string  // for timens_offsets of a new time namespace, or empty
	Propagation    uintptr // MS_* flags for /, or 0 to leave it
	Fresh          []Fresh // mounted in the new mnt namespace, in the end
	LoopbackUp     bool    // in the new net namespace
	Protect        bool    // somebody else may be root in the joined namespaces

	// UIDMapTool and GIDMapTool are paths of newuidmap and newgidmap, which write the maps. If they
	// are empty, this process writes the maps. They cannot be used if Join has a user namespace.
	UIDMapTool, GIDMapTool string

	// AtHome returns an error if a child of the calling thread would inherit namespaces that are
	// not this program's. Then another thread with the same privileges starts the process. If there
	// is no such thread, Create fails. Nil checks the mnt namespace and the root only.
	AtHome func() error

	by       *starter
	own      own
	chrooted bool // the root of this process, which the launcher has as well, is not a mount
}

// Fresh is a file system that shows namespaces, "proc" or "sysfs", to be mounted on a directory.
type Fresh struct{ FS, Dir string }

// own is the state of this process that decides about the steps.
type own struct {
	facts
	inherited []int // this process's descriptors that a launcher may have, if it cannot close a range
}

type facts struct {
	spared    bool   // it has a negative oom_score_adj
	grouped   bool   // it has supplementary groups
	sheds     bool   // and the kernel lets it drop them: only a filter would refuse that
	hardFiles uint64 // the hard limit of open files, if the soft one is lower
	mixed     bool   // its real ids are not its effective ones
	permitted uint64 // the capabilities of the launcher that makes namespaces
	lent      bool   // the launcher has capabilities that its program must not have

	forbids forbidden
}

// forbidden are system calls that a filter forbids to launchers (seccomp(2)). Only calls that
// launchers can replace or explain are listed. Filters are inherited: a call that is forbidden to a
// launcher is forbidden to every program that it becomes or starts.
type forbidden struct {
	keyctl, closeRange, execveat, openat2, clone3, pivotRoot bool
}

// WorkerOptions says where and how a worker runs. Zero durations take the defaults.
type WorkerOptions struct {
	Join    []Join
	Protect bool // as for Creation
	KeepIDs bool // do not become uid and gid 0 of the user namespace joined
	// ForeignRoot: the joined mnt namespace is somebody else's. A dynamically linked program is
	// refused there unless DynamicLoader is set.
	ForeignRoot, DynamicLoader bool

	// Stderr gets the output of the worker and its functions, on both streams, as fast as it can be
	// written. Nil is os.Stderr. With Protect, os.Stderr gets text with control characters escaped.
	Stderr io.Writer

	// Path is a program that is started in place of this one. It calls gonso.Init and registers the
	// same functions. The first launch opens it. Empty is this program.
	Path string
	// Env is the environment. Nil is the environment of this process or, with Protect, the
	// variables of the Go runtime.
	Env     []string
	Dir     string   // working directory, inside; empty leaves it
	Rlimits []Rlimit // set before anything is joined
	Cgroup  string   // a directory of cgroup v2; empty is this process's own

	MaxResult int64 // bytes of memory that one result takes at most, encoded and decoded

	StartTimeout time.Duration // for the worker to come up
	Idle         time.Duration // without a call, after which the worker is ended; negative is never
	Grace        time.Duration // for a function to return after its context was cancelled
	Spin         time.Duration // to look for the next frame before sleeping, at most MaxSpin
}

// Rlimit is a limit of setrlimit(2).
type Rlimit struct {
	Resource   int // unix.RLIMIT_*
	Soft, Hard uint64
}

// The defaults of WorkerOptions.
const (
	defaultStartTimeout = 30 * time.Second
	MaxSpin             = wire.MaxSpin
	DefaultGrace        = 5 * time.Second
	defaultIdle         = 30 * time.Second

	// DefaultMaxResult fits into 64 MiB, together with the memory for receiving. MaxMaxResult is
	// the size of the largest value, encoded and decoded.
	DefaultMaxResult = 60 << 20
	MaxMaxResult     = codec.MaxValue + codec.MaxDecoded
)

// ResultTooLarge is the subject of a codec.SizeError for a result that exceeds MaxResult.
const ResultTooLarge = "encoded result"

func (o *WorkerOptions) setDefaults() {
	if o.Stderr == nil {
		o.Stderr = os.Stderr
		if o.Protect {
			o.Stderr = textOnly{os.Stderr}
		}
	}
	if o.Idle < 0 {
		o.Idle = math.MaxInt64
	}
	if o.MaxResult <= 0 {
		o.MaxResult = DefaultMaxResult
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.StartTimeout, defaultStartTimeout}, {&o.Idle, defaultIdle}, {&o.Grace, DefaultGrace}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
}

var (
	// ErrNotInitialized says that the started program did not call Init.
	ErrNotInitialized = errors.New("gonso: the program did not call gonso.Init() first in main (or TestMain)")

	// ErrWorkerDied is matched by every [DiedError].
	ErrWorkerDied = errors.New("gonso: worker died")

	// ErrWorkerClosed says that the Worker was closed.
	ErrWorkerClosed = errors.New("gonso: the worker is closed")

	errSecondGeneration = errors.New("gonso: this process is itself a worker that has not called gonso.Init() yet; it starts no processes")
)

// LaunchError is a step of a launch that the kernel refused.
type LaunchError struct {
	Op   string // the system call, or the text that was written
	Type uint32 // the namespace it was about, or 0
	Step string // the whole step, for messages
	Path string // the file it was about, or ""
	Err  error

	// Inside: the step was made in another user namespace, with all capabilities there.
	Inside bool
	Fresh  bool // it mounts a file system that shows namespaces, for Creation.Fresh

	// Option is the caller's option that the step was for, or "".
	Option string
	Limit  *Rlimit // of Option, if that is the Rlimits of a worker or a program
}

func (e *LaunchError) Error() string {
	return fmt.Sprintf("gonso: launch: %s: %s", e.Step, Clause(e.Err))
}

func (e *LaunchError) Unwrap() error { return e.Err }
