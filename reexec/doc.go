// Package reexec is the parent's side of gonso's process backend: it makes
// namespaces that no thread of a Go program can make, starts this program again
// inside namespaces, and passes calls to such workers.
//
// It takes joins in the order it is given them; what to join, in which order
// and why is decided in package gonso, the package that programs should use.
//
// Where to look: compose_linux.go composes the steps of every launch, the
// assembly in internal/launcher is all that runs before the program does,
// worker_linux.go owns the life of a worker, call_linux.go that of a call, and
// wire/PROTOCOL.md says what crosses.
package reexec
