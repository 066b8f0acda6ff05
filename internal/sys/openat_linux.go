package sys

import "golang.org/x/sys/unix"

// Openat is openat(2), close-on-exec. It goes on where it is interrupted (EINTR), as the Go runtime's preemption signals
// can do on some file systems; os.Open does the same.
func Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
