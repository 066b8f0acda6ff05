// Package handshake has the facts that a worker and its parent agree on before they speak: how the
// worker knows that it is a worker, and where it finds its descriptors and arguments. Packages
// reexec (the parent's side) and child (the worker's side) both import it, and do not import each
// other.
package handshake

import (
	"hash/fnv"
	"os"
	"path"
	"reflect"
	"strings"
	"sync/atomic"
)

// Module is the import path of the module that this copy of gonso belongs to. A program may have
// two copies: a fork with another path, or two major versions. Each must know its own workers, and
// leave the workers of the other one alone.
var Module = strings.TrimSuffix(reflect.TypeFor[module]().PkgPath(), "/internal/handshake")

type module struct{}

// Name is the argv[0] of a worker, by which moby/sys/reexec dispatches it.
var Name = nameOf(Module)

func nameOf(module string) string {
	const name = "gonso-worker"
	// In parts, so that a fork that replaces the path in all files has a name of its own.
	if module == path.Join("github.com", "gonso", "gonso") {
		return name
	}
	return name + ":" + module
}

// How a worker is started.
const (
	// SocketFD is the worker's end of its socket. It is the only descriptor that the worker is
	// started with, besides the standard streams. Package wire receives the worker's ends of two
	// pipes from it.
	SocketFD = 3
	// MountArg as first argument says that MountFD is a mount namespace. Each call enters it on its
	// own thread, and then the working directory, which is the second argument. It is for programs
	// that find no loader in that namespace.
	MountArg = "mnt"
	// MountFD is the descriptor of that mount namespace.
	MountFD = 5
	// SpinArg begins an argument that comes before all others: "spin=50µs". It says how long the
	// worker looks for the next frame before it sleeps. Without this argument, the worker sleeps at
	// once.
	SpinArg = "spin="
)

// A mark is what the parent puts on the worker's socket. It is made of Module. markMount says that
// the worker has a MountArg.
var markWorker, markMount = marksOf(Module)

func marksOf(module string) (worker, mount int) {
	h := fnv.New32a()
	h.Write([]byte(module))
	worker = int(h.Sum32()>>1) | 2 // no mark is 0 or negative
	return worker, worker ^ 1
}

// mark is the mark on the worker's socket, or 0. An init function of the program may change os.Args
// before this package's init runs: packages are initialized in the order of their paths. It cannot
// change the socket without knowing of it.
var mark = readMark()

var isWorker = mark != 0 || len(os.Args) > 0 && os.Args[0] == Name

// IsWorker reports whether this process was started as a worker. It works even if os.Args was
// changed.
func IsWorker() bool { return isWorker }

// EntersMount reports whether the parent has marked the worker as a worker with a MountArg.
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

// Initialized reports whether this process has called gonso.Init. A worker is the same program: so
// it would have called Init, too, if it had run for long enough.
func Initialized() bool { return initialized.Load() }
