// Package handshake is what the parent of a worker and the worker agree on before they speak: how
// the worker knows that it is one, and where it finds what it was given. Packages reexec (the
// parent's side) and child (the worker's side) both import it, and neither imports the other.
package handshake

import (
	"os"
	"sync/atomic"
)

// How a worker is started.
const (
	// Name is the argv[0] of a worker, by which moby/sys/reexec dispatches it.
	Name = "gonso-worker"
	// SocketFD is the worker's end of its socket, the only descriptor it is started with besides
	// the standard streams. Package wire finds the worker's ends of two pipes in there.
	SocketFD = 3
	// MountArg as first argument says that MountFD is a mount namespace that each call enters
	// on its thread, and then the working directory that is the second argument. It is for
	// programs that find no loader in there.
	MountArg = "mnt"
	// MountFD is where that mount namespace is.
	MountFD = 5
	// SpinArg begins an argument that comes before all others, and says for how long the worker looks for the next
	// frame before it sleeps: "spin=50µs". Without it, it sleeps.
	SpinArg = "spin="
)

// mark is what the parent has put on the worker's socket, or 0. An init function of the program may
// change os.Args before that of this package runs: packages are initialized in the order of their
// paths. The socket it cannot change without knowing of it.
var mark = readMark()

var isWorker = mark != 0 || len(os.Args) > 0 && os.Args[0] == Name

// IsWorker reports whether this process was started as a worker, whatever has become of os.Args.
func IsWorker() bool { return isWorker }

// EntersMount reports whether the parent has marked the worker as one with a MountArg.
func EntersMount() bool { return mark == markMount }

var pending, initialized atomic.Bool

// SetPending is called by package init of a worker, with true, and once its main has come to Init.
func SetPending(p bool) { pending.Store(p) }

// Pending reports whether this process was started as a worker and has not come to Init. Such a
// process starts no workers: a main that never calls Init would go on for ever, each generation
// starting the next.
func Pending() bool { return pending.Load() }

// SetInitialized is called by gonso.Init.
func SetInitialized() { initialized.Store(true) }

// Initialized reports whether this process has called gonso.Init. Then a worker, which is the same
// program, would have done so too, had it come so far.
func Initialized() bool { return initialized.Load() }
