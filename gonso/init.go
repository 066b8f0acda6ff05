package gonso

import (
	"os"

	mobyreexec "github.com/moby/sys/reexec"

	"github.com/gonso/gonso/internal/handshake"
)

// Init must be the first call in main, and in TestMain of tests that use
// [Func.Do]: a worker is this program started again, and Init is where it
// becomes one. In a worker Init never returns; in the program itself it returns
// at once. Closures do not need it.
//
// In a program that has not called it, no worker is started, as main would run a second time there:
// calls that need one answer [ErrNotInitialized] at once. Programs whose main calls the Init of another
// package, such as github.com/moby/sys/reexec, say so by [InitElsewhere].
//
// Init is the Init of github.com/moby/sys/reexec, too, except that it knows a worker whatever has become
// of os.Args, and that it ends the process itself after any initializer that returns, so that its
// result cannot be misread.
func Init() {
	handshake.SetInitialized()
	if handshake.IsWorker() {
		serve()
	}
	if len(os.Args) > 0 && mobyreexec.Init() {
		os.Exit(0)
	}
}

// InitElsewhere says that main calls the Init of another package in place of [Init]. register is
// the function by which that package learns what it is to call: the Register of
// github.com/containers/storage/pkg/reexec, for example. Nil is github.com/moby/sys/reexec. Call it in an init function:
//
//	func init() { gonso.InitElsewhere(reexec.Register) }
//
// Such packages find out by os.Args[0] what to call, so that a program must not change it before.
// InitElsewhere takes main at its word: if main calls no such Init, it runs a second time as the worker,
// inside, until [Worker].StartTimeout.
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
