package sys

import "os"

// Place is what a piece of work wants to be different about where it runs. The zero Place leaves
// everything as it is.
type Place struct {
	Root     *os.File // root directory, or nil; it belongs to whoever made the Place
	Dir      string   // working directory, or ""
	Theirs   bool     // Dir is in somebody else's mount namespace: no magic links lead there
	HasUmask bool
	Umask    uint32
	Whole    bool // of the whole process, not of the thread alone
}
