package sys

import "golang.org/x/sys/unix"

// CapSet is a set of capabilities: a bit for each CAP_*.
type CapSet uint64

// Has reports whether a capability is in the set.
func (s CapSet) Has(capability uint) bool { return s&(1<<capability) != 0 }

// Caps are the capabilities of a thread.
type Caps struct{ Effective, Permitted, Inheritable CapSet }

// ThreadCaps returns the capabilities of the calling thread.
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

		Inheritable: both(data[0].Inheritable, data[1].Inheritable),
	}, nil
}

// Lendable are capabilities that are effective in the calling thread, and that a program it
// executes gets only if they are made ambient. A program that has file capabilities and does not
// run as root has such capabilities (capabilities(7)). If somebody has made capabilities
// inheritable already, Lendable is empty: nobody could tell the two kinds apart afterwards.
func Lendable() (lent CapSet) {
	if unix.Geteuid() == 0 {
		return 0
	}
	caps, err := ThreadCaps()
	if err != nil || caps.Effective == 0 || caps.Inheritable != 0 {
		return 0
	}
	const noAmbientRaise = 1 << 6 // SECBIT_NO_CAP_AMBIENT_RAISE
	if bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0); err != nil || bits&noAmbientRaise != 0 {
		return 0
	}
	for _, c := range caps.Effective.List() {
		if bound, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err == nil && bound == 1 {
			lent |= 1 << c
		}
	}
	return lent
}

// List lists the set.
func (s CapSet) List() (caps []uintptr) {
	for c := range uintptr(64) {
		if s.Has(uint(c)) {
			caps = append(caps, c)
		}
	}
	return caps
}
