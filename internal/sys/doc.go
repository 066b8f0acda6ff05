// Package sys is what gonso's packages need of this process, its threads and its descriptors, said
// once: duplicates and borrowed descriptors, locked threads, and the place (root, working directory,
// umask) that a thread can have of its own.
//
// It knows nothing of namespaces (package nsfs), of frames (package wire) and of launches (package
// launcher).
package sys
