//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// Init, which comes first in main, runs container where the program is started under this name.
func init() { reexec.Register("example-container", container) }

// container is what a container runtime does between the namespaces and the program: it makes the
// directory Args[1] the root, and becomes Args[2:]. What it does last belongs to a thread, the one
// that calls execve(2), which has to be the same all along.
func container() {
	runtime.LockOSThread()
	root, args := os.Args[1], os.Args[2:]
	for _, step := range []func() error{
		func() error { return unix.Mount(root, root, "", unix.MS_BIND, "") }, // pivot_root(2) takes mounts
		func() error { return unix.Chdir(root) },
		func() error { return unix.PivotRoot(".", ".") },
		func() error { return unix.Unmount(".", unix.MNT_DETACH) },
		func() error { return unix.Chdir("/") },
		func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) },
		func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0) },
		denySethostname,
		func() error { return unix.Exec(args[0], args, nil) },
	} {
		if err := step(); err != nil {
			fmt.Println("container:", err)
			os.Exit(125)
		}
	}
}

// denySethostname installs a seccomp filter, see seccomp(2). A filter of your own also checks the
// processor, as each has its own numbers of system calls.
func denySethostname() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SETHOSTNAME, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}

// What has to be done inside, in the process that becomes the program, is a function of one's own:
// pivot_root, seccomp, labels. Self runs this program there, and Args say which function.
func ExampleSet_Self() {
	gonso.Init() // first in main

	busybox, err := exec.LookPath("busybox") // a static one
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	root, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	program, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "busybox"), program, 0o755)
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	const script = `b=/busybox
echo "root: [$($b ls /)]"
$b hostname other 2>&- || echo no other host name`
	c := s.Self(context.Background())
	c.Args = []string{"example-container", root, "/busybox", "sh", "-c", script}
	out, err := c.CombinedOutput()
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// root: [busybox]
	// no other host name
}
