package gonso

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// Daemons close all descriptors that they do not know first in main: close_range(3, ~0), as
// daemon(7) advises. Among them are those by which threads are restored.

func init() { testenv.Program("closes what it does not know", closesWhatItDoesNotKnow) }

// decoys are descriptors of a net namespace that nobody asked for, at the numbers
// that were closed.
type decoys struct {
	fds []int
	st  unix.Stat_t
}

func (d *decoys) take() {
	closeUnknown()
	testenv.OnThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		for range 64 {
			fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				err = unix.Fstat(fd, &d.st)
			}
			if err != nil {
				panic(err)
			}
			d.fds = append(d.fds, fd)
		}
	})
}

// closeUnknown leaves the Go runtime its own, if it has them by now: it could not go on without.
func closeUnknown() {
	first := uint(3)
	for fd := first; fd < 64; fd++ {
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if link != "anon_inode:[eventpoll]" && link != "anon_inode:[eventfd]" {
			continue
		}
		if fd > first {
			if err := unix.CloseRange(first, fd-1, 0); err != nil { // Linux 5.9
				panic(err)
			}
		}
		first = fd + 1
	}
	if err := unix.CloseRange(first, math.MaxUint32, 0); err != nil {
		panic(err)
	}
}

// intact says whether nobody has closed or replaced them.
func (d *decoys) intact() error {
	for _, fd := range d.fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Dev != d.st.Dev || st.Ino != d.st.Ino {
			return fmt.Errorf("descriptor %d, which is this program's: %v, %d instead of %d", fd, err, st.Ino, d.st.Ino)
		}
	}
	return nil
}

func closesWhatItDoesNotKnow() {
	moment := os.Args[1]
	home := netOf()
	fail := func(what string, err error) {
		if err != nil {
			fmt.Println("WRONG:", what, err)
		}
	}
	var d decoys
	if moment == "first in main" {
		d.take()
	}
	if moment == "between" || moment == "under a Set" {
		s, err := Unshare(Net)
		fail("first Set", err)
		for range 10 {
			fail("first Set", s.Run(func() error { return nil }))
		}
		if moment == "between" {
			s.Close()
		}
		d.take()
		if moment == "under a Set" {
			// Its descriptors are the decoys now.
			entered := false
			err = s.Run(func() error { entered = true; return nil })
			if err == nil || entered {
				fmt.Println("WRONG: a Set without its descriptors goes elsewhere")
			}
			if f, err := s.File(Net); err == nil {
				fmt.Println("WRONG: a Set without its descriptors gives others")
				f.Close()
			}
			s.Close()
			fail("closed a Set", d.intact())
		}
	}
	s, err := Unshare(Net)
	if err != nil {
		fmt.Println("WRONG:", err)
		return
	}
	if moment == "while a closure runs" {
		fail("closure", s.Do(true, func() bool { d.take(); return true }))
		s.Close()
		if s, err = Unshare(Net); err != nil {
			fmt.Println("WRONG:", err)
			return
		}
	}
	fail("descriptors", d.intact())
	id, err := s.ID(Net)
	fail("id", err)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			err := s.Do(true, func() bool {
				if n := netOf(); n != id.Ino {
					fmt.Printf("WRONG: inside it is %d, not %v\n", n, id)
				}
				return true
			})
			fail("closure", err)
		})
	}
	wg.Wait()
	fail("descriptors", d.intact())
	for range 200 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if n := netOf(); n != home {
				fmt.Printf("WRONG: a goroutine in %d, home is %d\n", n, home)
			}
		})
	}
	wg.Wait()
	threads, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, path := range threads {
		if at, err := os.Readlink(path); err == nil && at != fmt.Sprintf("net:[%d]", home) {
			fmt.Println("WRONG:", path, at, "home is", home)
		}
	}
	c, err := Current(Net)
	if err == nil {
		var f *os.File
		if f, err = c.File(Net); err == nil {
			var st unix.Stat_t
			if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Ino != home {
				err = fmt.Errorf("it is %d, home is %d", st.Ino, home)
			}
			f.Close()
		}
		c.Close()
	}
	fail("Current", err)
	s.Close()
	fail("descriptors at the end", d.intact())
	tid := 0
	if s, err = Unshare(Net); err == nil {
		err = s.Do(true, func() bool { tid = unix.Gettid(); return true })
		s.Close()
	}
	fail("again", err)
	fmt.Println("kept", threadLives(tid))
}

func TestClosedHomeCannotSendThreadsElsewhere(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	probe := unix.CloseRange(math.MaxInt32-1, math.MaxInt32-1, 0)
	if probe == unix.ENOSYS {
		testenv.Found(t, "close_range", probe)
	}
	for _, moment := range []string{"first in main", "between", "under a Set", "while a closure runs"} {
		for _, debug := range []string{"", "threads"} {
			t.Run(moment+"/"+debug, func(t *testing.T) {
				c := testenv.Command(t, "closes what it does not know", moment)
				if !testenv.Has(testenv.Root) {
					c.SysProcAttr = &syscall.SysProcAttr{
						Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
						UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
						GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
					}
				}
				c.Env = append(c.Env, "GONSO_DEBUG="+debug)
				out, err := c.CombinedOutput()
				if err != nil || string(out) != "kept true\n" {
					t.Errorf("%v:\n%.2000s", err, out)
				}
			})
		}
	}
}
