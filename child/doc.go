// Package child is for package gonso. Programs use gonso, and its Init calls [Main]. Package child
// is the worker's side of the process backend. It knows the registered functions, and tells whether
// this process was started as a worker. It serves the calls that come over the worker's connection.
// Package reexec is the parent's side. The two packages do not import each other.
// internal/handshake and internal/wire define what both sides share.
//
// Which file owns what:
//
//   - registry.go: the registered functions, and how one is run
//   - main_linux.go: from package init to serving, and the end of the process
//   - server_linux.go: serving calls
//   - turn_linux.go: which goroutine reads calls; pace.go: which functions take so long that
//     another goroutine should read
//   - mount_linux.go: calls that enter the mount namespace, for programs that cannot be started
//     inside it
package child
