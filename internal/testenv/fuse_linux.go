package testenv

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SilentFS mounts a FUSE file system at dir that takes every request and answers none: who asks
// it something waits in the kernel, and cannot be killed. end aborts it, and unmounts it.
func SilentFS(dir string) (end func(), err error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/fuse", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", fd, os.Getuid(), os.Getgid())
	if err := unix.Mount("silent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("mount", err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		swallow(fd)
	}()
	return func() {
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // aborts what waits
		<-over
		unix.Close(fd)
	}, nil
}

// swallow reads requests, and answers the first, FUSE_INIT, without which none follow.
func swallow(fd int) {
	const initOp = 26
	b := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, b)
		if err == unix.EINTR || err == unix.ENOENT { // ENOENT: the request is gone
			continue
		}
		if err != nil {
			return
		}
		if n < 40 || binary.NativeEndian.Uint32(b[4:]) != initOp {
			continue
		}
		out := make([]byte, 16+64)
		binary.NativeEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:16], b[8:16]) // unique
		binary.NativeEndian.PutUint32(out[16:], 7)
		binary.NativeEndian.PutUint32(out[20:], 31)
		binary.NativeEndian.PutUint32(out[36:], 4096) // max_write
		_, _ = unix.Write(fd, out)
	}
}
