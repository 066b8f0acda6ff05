package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// SilentFS mounts a FUSE file system at dir that takes every request and answers no request. A
// process that asks it something waits in the kernel, and cannot be killed. end aborts the file
// system, and unmounts it.
func SilentFS(dir string) (end func(), err error) { return SilentFSAfter("/dev/fuse", dir, 0) }

// Silent is SilentFSAfter in another process. It is for tests in which this process may wait for
// the file system: if it served that itself and was killed while it waits, neither could end. end
// ends the other process, at the latest with the test.
func Silent(t testing.TB, dir string, answers Answers) (end func()) {
	t.Helper()
	c := Command(t, "silent file system", dir, strconv.Itoa(int(answers)))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var said strings.Builder
	c.Stderr = &said
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		in.Write([]byte("x")) // written, not only closed: a child of this program that waits may have a copy of this end
		in.Close()
		c.Wait()
		_ = unix.Unmount(dir, unix.MNT_DETACH) // if the other process was killed
	})
	t.Cleanup(end)
	if n, _ := out.Read(make([]byte, 10)); n == 0 {
		end()
		Found(t, "fuse", errors.New(said.String()))
	}
	return end
}

func init() {
	Program("silent file system", func() {
		answers, _ := strconv.Atoi(os.Args[2])
		end, err := SilentFSAfter("/dev/fuse", os.Args[1], Answers(answers))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("mounted")
		_, _ = os.Stdin.Read(make([]byte, 1))
		end()
	})
}

// Answers are the requests that a file system of SilentFSAfter does answer.
type Answers int

const (
	Lookups Answers = 1 << iota // names: "sock..." is a socket, "dir..." a directory, and all else a file
	Stats
	Opens
	Reads
	AlsoFlushes
	CheckedHere // it makes the kernel check permissions, by the mode that stat returns
)

// SilentFSAfter is SilentFS with a given FUSE device, but answers some requests.
func SilentFSAfter(device, dir string, answers Answers) (end func(), err error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open "+device, err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", fd, os.Getuid(), os.Getgid())
	if answers&CheckedHere != 0 {
		opts += ",default_permissions"
	}
	if err := unix.Mount("silent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("mount", err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		(&fuseServer{fd: fd, answers: answers, nodes: map[string]uint64{}, modes: map[uint64]uint32{1: unix.S_IFDIR}}).serve()
	}()
	return sync.OnceFunc(func() {
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) // aborts the requests that wait
		<-over
		unix.Close(fd)
	}), nil
}

// Requests of include/uapi/linux/fuse.h.
const (
	fuseLookup  = 1
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRead    = 15
	fuseStatfs  = 17
	fuseFlush   = 25
	fuseInit    = 26
	fuseOpendir = 27
	fuseAccess  = 34
)

type fuseServer struct {
	fd      int
	answers Answers
	nodes   map[string]uint64
	modes   map[uint64]uint32 // types of files
}

// serve reads requests, and answers the first, FUSE_INIT: without this answer no others follow.
func (s *fuseServer) serve() {
	b := make([]byte, 1<<20)
	for {
		n, err := unix.Read(s.fd, b)
		if err == unix.EINTR || err == unix.ENOENT { // ENOENT: the request is gone
			continue
		}
		if err != nil {
			return
		}
		if n < 40 {
			continue
		}
		body, ok := s.answer(binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint64(b[16:]), b[40:n])
		if !ok {
			continue
		}
		out := make([]byte, 16, 16+len(body))
		binary.NativeEndian.PutUint32(out, uint32(16+len(body)))
		copy(out[8:16], b[8:16]) // unique
		_, _ = unix.Write(s.fd, append(out, body...))
	}
}

// answer returns the body of the answer to a request, if it must be answered.
func (s *fuseServer) answer(op uint32, node uint64, arg []byte) (body []byte, ok bool) {
	may := func(a Answers) bool { return s.answers&a != 0 }
	switch op {
	case fuseInit:
		body = make([]byte, 64)
		binary.NativeEndian.PutUint32(body, 7)
		binary.NativeEndian.PutUint32(body[4:], 31)
		binary.NativeEndian.PutUint32(body[20:], 4096) // max_write
		return body, true
	case fuseLookup:
		name, _, _ := strings.Cut(string(arg), "\x00")
		name = fmt.Sprintf("%s in %d", name, node)
		body = make([]byte, 40) // struct fuse_entry_out: the next time it is asked again
		binary.NativeEndian.PutUint64(body, s.node(name))
		return append(body, s.attr(s.node(name))...), may(Lookups)
	case fuseGetattr:
		return append(make([]byte, 16), s.attr(node)...), may(Stats)
	case fuseOpen, fuseOpendir:
		return make([]byte, 16), may(Opens)
	case fuseRead:
		return nil, may(Reads)
	case fuseFlush:
		return nil, may(AlsoFlushes)
	case fuseStatfs:
		return make([]byte, 80), may(Stats)
	case fuseAccess:
		return nil, may(Stats)
	}
	return nil, false
}

func (s *fuseServer) node(name string) uint64 {
	if n := s.nodes[name]; n != 0 {
		return n
	}
	n := uint64(len(s.nodes) + 2)
	s.nodes[name], s.modes[n] = n, unix.S_IFREG
	switch {
	case strings.HasPrefix(name, "sock"):
		s.modes[n] = unix.S_IFSOCK
	case strings.HasPrefix(name, "dir"):
		s.modes[n] = unix.S_IFDIR
	}
	return n
}

// attr is struct fuse_attr.
func (s *fuseServer) attr(node uint64) []byte {
	b := make([]byte, 88)
	binary.NativeEndian.PutUint64(b, node)
	binary.NativeEndian.PutUint64(b[8:], 4096) // size
	binary.NativeEndian.PutUint32(b[60:], s.modes[node]|0o777)
	binary.NativeEndian.PutUint32(b[64:], 1) // links
	return b
}
