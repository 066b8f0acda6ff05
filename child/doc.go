// Package child is the worker's side of package reexec: it knows the registered
// functions, tells whether this process was started as a worker, and serves the
// calls that come over the worker's socket.
//
// It is imported by package gonso; programs call gonso.Init, which comes to
// [Main]. It never imports gonso or reexec: a worker needs nothing of the
// parent's side.
package child
