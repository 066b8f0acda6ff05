package child

import (
	"os"
	"sync/atomic"
)

// What parent and worker agree on.
const (
	// Name is the argv[0] of a worker, by which moby/sys/reexec dispatches it.
	Name = "gonso-worker"
	// SocketFD is the worker's end of its socket, the only descriptor it gets
	// besides the standard streams.
	SocketFD = 3
	// MountArg as first argument says that MountFD is a mount namespace that each
	// call enters on its thread, and then the working directory that is the second
	// argument. It is for programs that find no loader in there.
	MountArg = "mnt"
	MountFD  = 5
)

// pending is true from package init of a worker until Main.
var pending atomic.Bool

// Pending reports whether this process was started as a worker and has not
// come to [Main]. Such a process starts no workers: a main that never calls
// Init would go on for ever, each generation starting the next.
func Pending() bool { return pending.Load() }

func isWorker() bool { return len(os.Args) > 0 && os.Args[0] == Name }
