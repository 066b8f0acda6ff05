package gonso

import (
	"os"

	mobyreexec "github.com/moby/sys/reexec"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/handshake"
)

func init() { mobyreexec.Register(handshake.Name, child.Main) }

// Init must be the first call in main, and in TestMain of tests that use
// [Func.Do]: a worker is this program started again, and Init is where it
// becomes one. In a worker Init never returns; in the program itself it returns
// at once. Closures do not need it.
//
// Programs that call Init of github.com/moby/sys/reexec need nothing more, unless
// they change os.Args[0] before, by which that finds out what to do. Init is that, except
// that it knows a worker whatever has become of os.Args, and that it ends the process
// itself after any initializer that returns, so that its result cannot be misread.
func Init() {
	handshake.SetInitialized()
	if handshake.IsWorker() {
		child.Main()
	}
	if len(os.Args) > 0 && mobyreexec.Init() {
		os.Exit(0)
	}
}
