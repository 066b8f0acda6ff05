package sys

import "os"

// Place is what a piece of work wants to be different about where it runs. The zero Place leaves
// everything as it is.
type Place struct {
	Root     *os.File // root directory, or nil; it belongs to whoever made the Place
	Dir      string   // working directory, or ""
	DirFile  *os.File // working directory, in place of Dir, or nil; it belongs to whoever made the Place
	Theirs   bool     // it is in somebody else's mount namespace: no magic links lead there, and it is not elsewhere
	HasUmask bool
	Umask    uint32
	Whole    bool // of the whole process, not of the thread alone
}

// Close closes the files, where they are the caller's.
func (p Place) Close() {
	for _, f := range []*os.File{p.Root, p.DirFile} {
		if f != nil {
			f.Close()
		}
	}
}
