// Package child is for package gonso; programs use that, whose Init comes to [Main]. It is
// the worker's side of the process backend: it knows the registered functions, tells
// whether this process was started as a worker, and serves the calls that come over the
// worker's socket. The parent's side is package reexec. Neither imports the other: what
// they agree on is in internal/handshake and internal/wire.
//
// Which file owns what:
//
//   - registry.go: the registered functions, and how one is run
//   - main_linux.go: from package init to serving, and the end of the process
//   - server_linux.go: serving calls
//   - turn_linux.go: who reads calls; pace.go which functions take so long that
//     somebody else should
//   - mount_linux.go: calls that enter the mount namespace, for programs that cannot be
//     started in there
package child
