package gonso

import (
	"os"

	mobyreexec "github.com/moby/sys/reexec"

	"github.com/gonso/gonso/internal/handshake"
)

// Init must be the first call in main, and in TestMain, of a program that needs a worker.
// Registered functions need one, and sockets and files in a Set with a user namespace. A worker is
// this program, started again, and in Init it becomes the worker. Init never returns in a worker,
// and returns at once in the program itself. Closures and commands do not need it.
//
// If the program has not called Init, no worker is started, because main would run a second time in
// it. Calls that need a worker return [ErrNotInitialized] at once. If main calls the Init of
// another package, such as github.com/moby/sys/reexec, use [InitElsewhere].
//
// Init also does the work of the Init of github.com/moby/sys/reexec. There are two differences: it
// knows a worker even if os.Args has changed, and it ends the process itself after an initializer
// has returned, so that it has no result.
func Init() {
	handshake.SetInitialized()
	if handshake.IsWorker() {
		serve()
	}
	if len(os.Args) == 0 {
		return
	}
	inInitializer.Store(true)
	if mobyreexec.Init() {
		os.Exit(0)
	}
	inInitializer.Store(false)
}

// InitElsewhere says that main calls the Init of another package in place of [Init]. register is
// the Register of that package, for example of github.com/containers/storage/pkg/reexec. Nil is the
// one of github.com/moby/sys/reexec. Call InitElsewhere in an init function:
//
//	func init() { gonso.InitElsewhere(reexec.Register) }
//
// Such packages look at os.Args[0], so the program must not change it before. InitElsewhere cannot
// check main: if main does not call such an Init, main runs a second time, as the worker, inside,
// until [Worker].StartTimeout.
func InitElsewhere(register func(name string, initializer func())) {
	if register == nil {
		register = mobyreexec.Register
	}
	register(handshake.Name, serve)
	handshake.SetInitialized()
}

// checkInit refuses to start this program as a worker if that would run its main.
func checkInit() error {
	if handshake.Initialized() {
		return nil
	}
	return newError("start worker", 0, "", ErrNotInitialized).
		withHint("if main calls the Init of another package, as of moby/sys/reexec, say so by gonso.InitElsewhere; if main is out of reach, name a helper program, Worker.Path")
}
