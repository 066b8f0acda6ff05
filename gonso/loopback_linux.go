package gonso

import "golang.org/x/sys/unix"

// setLoopbackUp sets "lo" up in the net namespace of the calling thread.
func setLoopbackUp() error {
	// Interfaces are asked for by way of any socket of their namespace. A filter may allow only one
	// family (RestrictAddressFamilies= of systemd).
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if other, oerr := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); oerr == nil {
			fd, err = other, nil
		}
	}
	if err != nil {
		return refused("socket in", Net, err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return newError("set loopback up in", Net, "", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return refused("set loopback up in", Net, err)
	}
	return nil
}
