// Package errtree carries errors from one process to another, so that errors.Is and errors.As find
// there what they found here. An error is a tree: what it wraps is encoded along with it.
//
// Both sides are the same program, so they know the same sentinels ([RegisterSentinel]) and types
// of errors ([RegisterType]); of all others the text, the name of the type and the sentinels that
// they match arrive. Whoever has made the bytes may be hostile: everything decoded has a cap.
package errtree
