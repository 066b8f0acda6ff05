//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// Examples of every type and every option of Unshare.

var processes = gonso.Register("example.processes", func(context.Context, struct{}) ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return dirs, err
})

// In a new pid namespace, gonso's init is number 1 and the worker comes after it.
// A fresh /proc shows just those.
func ExampleMountProc() {
	s, err := gonso.Unshare(gonso.User|gonso.PID|gonso.Mount, gonso.MountProc())
	if err != nil {
		cannot("userns", err, "[1 2] <nil>")
		return
	}
	defer s.Close()

	fmt.Println(processes.Do(context.Background(), s, struct{}{}))
	// Output: [1 2] <nil>
}

var number = gonso.Register("example.number", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

// A Set with a pid namespace keeps its init, and closing it kills all that is
// inside.
func ExampleUnshare_pid() {
	s, err := gonso.Unshare(gonso.User | gonso.PID)
	if err != nil {
		cannot("userns", err, "process 2 <nil>")
		return
	}
	defer s.Close()

	pid, err := number.Do(context.Background(), s, struct{}{})
	fmt.Println("process", pid, err)
	// Output: process 2 <nil>
}

var uptime = gonso.Register("example.uptime", func(context.Context, struct{}) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
})

// Inside, the machine has been up for at least a thousand days.
func ExampleClockOffsets() {
	const ahead = 1000 * 24 * time.Hour
	s, err := gonso.Unshare(gonso.User|gonso.Time, gonso.ClockOffsets(ahead, ahead))
	if err != nil {
		cannot("userns", err, "true <nil>")
		return
	}
	defer s.Close()

	up, err := uptime.Do(context.Background(), s, struct{}{})
	fmt.Println(up > ahead, err)
	// Output: true <nil>
}

var listen = gonso.Register("example.listen", func(ctx context.Context, address string) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}, gonso.StartsGoroutines())

// A new net namespace has nothing but a loopback interface that is down. Package
// net starts goroutines, which the option says.
func ExampleLoopbackUp() {
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		cannot("userns", err, "127.0.0.1:80 <nil>")
		return
	}
	defer s.Close()

	fmt.Println(listen.Do(context.Background(), s, "127.0.0.1:80"))
	// Output: 127.0.0.1:80 <nil>
}

var ids = gonso.Register("example.ids", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getuid(), os.Getgid()}, nil
})

// The caller's own ids are 1000 and 100 inside. Work becomes root of a user
// namespace if there is one; here is none, and it keeps its capabilities.
func ExampleIDMaps() {
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(
		[]gonso.IDMap{{ContainerID: 1000, HostID: uint32(os.Geteuid()), Size: 1}},
		[]gonso.IDMap{{ContainerID: 100, HostID: uint32(os.Getegid()), Size: 1}},
	))
	if err != nil {
		cannot("userns", err, "[1000 100] <nil>")
		return
	}
	defer s.Close()

	fmt.Println(ids.Do(context.Background(), s, struct{}{}))
	// Output: [1000 100] <nil>
}

// Without maps nobody has a name inside until somebody else writes them.
func ExampleNoIDMaps() {
	s, err := gonso.Unshare(gonso.User, gonso.NoIDMaps())
	if err != nil {
		cannot("userns", err, "[65534 65534] <nil>")
		return
	}
	defer s.Close()

	fmt.Println(ids.Do(context.Background(), s, struct{}{}))
	// Output: [65534 65534] <nil>
}

// Denied, groups that take rights away cannot be dropped inside.
func ExampleSetgroups() {
	s, err := gonso.Unshare(gonso.User, gonso.Setgroups(false))
	if err != nil {
		cannot("userns", err, "deny <nil>")
		return
	}
	defer s.Close()

	b, err := readFile.Do(context.Background(), s, "/proc/self/setgroups")
	fmt.Println(strings.TrimSpace(string(b)), err)
	// Output: deny <nil>
}

var mountTmp = gonso.Register("example.mount", func(_ context.Context, at string) ([]string, error) {
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if err := os.WriteFile(filepath.Join(at, "inside"), nil, 0o600); err != nil {
		return nil, err
	}
	return filepath.Glob(at + "/*")
})

// What is mounted inside stays inside. Private keeps out the host's later mounts
// too, which come in by default.
func ExamplePropagation() {
	s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.Propagation(gonso.PropagationPrivate))
	if err != nil {
		cannot("userns", err, "inside: 1 <nil>\noutside: 0")
		return
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)

	files, err := mountTmp.Do(context.Background(), s, dir)
	fmt.Println("inside:", len(files), err)
	files, _ = filepath.Glob(dir + "/*")
	fmt.Println("outside:", len(files))
	// Output:
	// inside: 1 <nil>
	// outside: 0
}

var queues = gonso.Register("example.queues", func(context.Context, struct{}) (int, error) {
	b, err := os.ReadFile("/proc/sysvipc/msg")
	return strings.Count(string(b), "\n") - 1, err // a line of titles
})

// A new ipc namespace has no message queues, semaphores and shared memory.
func ExampleUnshare_ipc() {
	s, err := gonso.Unshare(gonso.User | gonso.IPC)
	if err != nil {
		cannot("userns", err, "0 <nil>")
		return
	}
	defer s.Close()

	fmt.Println(queues.Do(context.Background(), s, struct{}{}))
	// Output: 0 <nil>
}

// In a new cgroup namespace the cgroup that its maker was in is the root.
func ExampleUnshare_cgroup() {
	s, err := gonso.Unshare(gonso.User | gonso.Cgroup)
	if err != nil {
		cannot("userns", err, "true <nil>")
		return
	}
	defer s.Close()

	b, err := readFile.Do(context.Background(), s, "/proc/self/cgroup")
	root := true
	for line := range strings.Lines(string(b)) {
		root = root && strings.HasSuffix(line, ":/\n")
	}
	fmt.Println(root, err)
	// Output: true <nil>
}

// Inside a Set with a user namespace, more is made without privileges. Other
// namespaces stay those of the Set.
func ExampleSet_Unshare() {
	outer, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		cannot("userns", err, "net|user|uts\nsame uts: true")
		return
	}
	defer outer.Close()

	inner, err := outer.Unshare(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inner.Close()
	fmt.Println(inner.Types())

	a, _ := outer.ID(gonso.UTS)
	b, _ := inner.ID(gonso.UTS)
	fmt.Println("same uts:", a == b)
	// Output:
	// net|user|uts
	// same uts: true
}

// A worker that does not become root keeps the ids of this process.
func ExampleSet_SetWorker() {
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(
		[]gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Geteuid()), Size: 1}},
		[]gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Getegid()), Size: 1}},
	))
	if err != nil {
		cannot("userns", err, "[7 7] <nil>")
		return
	}
	defer s.Close()

	if err := s.SetWorker(gonso.Worker{KeepIDs: true, Idle: time.Minute}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ids.Do(context.Background(), s, struct{}{}))
	// Output: [7 7] <nil>
}

// Namespaces of a running process, whoever made it.
func ExampleFromPID() {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer c.Wait()
	defer c.Process.Kill()

	s, err := gonso.FromPID(c.Process.Pid, gonso.Net, gonso.PID)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	own, err := gonso.Current()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer own.Close()

	a, _ := s.ID(gonso.Net)
	b, _ := own.ID(gonso.Net)
	fmt.Println(s.Types(), a == b)
	// Output: net|pid true
}
