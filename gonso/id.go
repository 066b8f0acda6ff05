package gonso

import "fmt"

// ID identifies a namespace: its type and the device and inode number of its
// file in nsfs, as stat(2) of /proc/PID/ns/TYPE gives them. IDs are comparable.
//
// The kernel uses the number again after a namespace has ended. So two equal IDs mean the same
// namespace only while something holds it, for example the Set of the ID.
type ID struct {
	Type Type
	Dev  uint64
	Ino  uint64
}

// String returns the ID as readlink(2) of /proc/PID/ns/TYPE does, "net:[4026531840]".
func (id ID) String() string { return fmt.Sprintf("%v:[%d]", id.Type, id.Ino) }
