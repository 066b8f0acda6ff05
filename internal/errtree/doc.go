// Package errtree carries errors from one process to another. errors.Is and errors.As find the same
// errors on both sides. An error is a tree: the errors that it wraps are encoded along with it.
//
// Both sides are the same program, so they know the same sentinels ([RegisterSentinel]) and types
// of errors ([RegisterType]); of other errors, the text, the name of the type and the matched
// sentinels arrive. The sender of the bytes may be hostile: everything decoded has a cap.
package errtree
