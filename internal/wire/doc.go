// Package wire is what a parent process and its worker say to each other over one SOCK_STREAM unix socketpair: frames,
// the values, errors and descriptors in them. PROTOCOL.md next to this file draws the dialogue.
//
// The worker runs in namespaces that somebody else may control, so the peer is not trusted: everything read has a cap on
// size, depth and number of descriptors, buffers grow with the bytes that really arrive, and malformed input is an error,
// never a panic. What the bytes mean (which call, which function) is the business of packages reexec (the parent) and
// child (the worker); a program has no reason to import this package.
//
// Frames, values and errors work on every operating system. [Conn] exists on Linux only.
package wire
