package sys

import "os"

// Place says what must be different in the place where a piece of work runs. The zero Place leaves
// everything as it is.
type Place struct {
	Root     *os.File // root directory, or nil; it belongs to the maker of the Place
	Dir      string   // working directory, or ""
	DirFile  *os.File // working directory, in place of Dir, or nil; it belongs to the maker of the Place
	Theirs   bool     // it is in somebody else's mount namespace: no magic links lead there, and it is not elsewhere
	HasUmask bool
	Umask    uint32
	Whole    bool // for the whole process, not only for the thread
}

// Close closes the files. They must be the caller's.
func (p Place) Close() {
	for _, f := range []*os.File{p.Root, p.DirFile} {
		if f != nil {
			f.Close()
		}
	}
}
