// Package sys has the code for this process, its threads and its descriptors that gonso's packages
// share: duplicates and borrowed descriptors, locked threads, and the place (root, working
// directory, umask) that a thread can have for itself.
//
// It knows nothing of namespaces (package nsfs), of frames (package wire) and of launches (package
// launcher).
package sys
