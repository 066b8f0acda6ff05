package sys

import "golang.org/x/sys/unix"

// CapSet is a set of capabilities: a bit for each CAP_*.
type CapSet uint64

// Has reports whether a capability is in the set.
func (s CapSet) Has(capability uint) bool { return s&(1<<capability) != 0 }

// Caps are the capabilities of a thread.
type Caps struct{ Effective, Permitted CapSet }

// ThreadCaps asks for those of the calling thread.
func ThreadCaps() (Caps, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return Caps{}, err
	}
	both := func(low, high uint32) CapSet { return CapSet(high)<<32 | CapSet(low) }
	return Caps{
		Effective: both(data[0].Effective, data[1].Effective),
		Permitted: both(data[0].Permitted, data[1].Permitted),
	}, nil
}
