// Package wire has the frames that a parent process and its worker send to each other through two
// pipes, and the messages in them. Descriptors go through a unix socket. PROTOCOL.md next to this
// file draws the dialogue.
//
// The worker runs in namespaces that somebody else may control, so the peer is not trusted: size
// and number of descriptors have a cap in everything that is read, buffers grow with the bytes that
// really arrive, and malformed input is an error, never a panic. Packages codec and errtree decide
// how values and errors are encoded. Packages reexec (the parent) and child (the worker) decide
// what the messages mean: which call, which function.
//
// What is where: frame.go and deframe.go are frames and how bytes are cut into them, message.go,
// place.go and outcome.go their payloads, ends_linux.go the descriptors of a connection,
// conn_linux.go how frames are read from them and written to them, gather_linux.go which frames share
// a write. Frames and messages work on every operating system; [Conn] exists on Linux only.
package wire
