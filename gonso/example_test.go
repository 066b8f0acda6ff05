//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// lookPath finds a program for the processor that this one is for.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil && !testenv.SameProcessor(path) {
		err = &exec.Error{Name: name, Err: errors.New("it is for another processor than this program")}
	}
	return path, err
}

// cannot ends an example that the machine does not permit: it prints what would
// have been printed, and on standard error that this was not seen. Where the
// run promised the thing, it fails.
func cannot(needs string, err error, output string) {
	for promised := range strings.SplitSeq(os.Getenv("GONSO_TEST_REQUIRE"), ",") {
		if promised == needs {
			panic(fmt.Sprintf("this run promised %s: %v", needs, err))
		}
	}
	fmt.Fprintf(os.Stderr, "example not run: needs %s: %v\n", needs, err)
	fmt.Println(output)
}

// Registered functions are known to the worker under the same names, because it
// is the same program: a package-level variable makes sure of that.
var rename = gonso.Register("example.rename", func(ctx context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

// A registered function runs in namespaces that need no privilege. The program's
// main, or TestMain, calls [gonso.Init] first.
func Example() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		cannot("userns", err, "inside: blue\noutside: unchanged")
		return
	}
	defer s.Close()

	before, _ := os.Hostname()
	inside, err := rename.Do(context.Background(), s, "blue")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("inside:", inside)
	if after, _ := os.Hostname(); after == before {
		fmt.Println("outside: unchanged")
	}
	// Output:
	// inside: blue
	// outside: unchanged
}

// A closure runs on a thread, which is given back afterwards. It needs
// CAP_SYS_ADMIN.
func ExampleSet_Run() {
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		cannot("root", err, "true")
		return
	}
	defer s.Close()

	var devices []byte
	err = s.Run(func() (err error) {
		devices, err = os.ReadFile("/proc/thread-self/net/dev") // /proc/net would be outside
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Contains(string(devices), "lo:"))
	// Output: true
}

// Interfaces are listed without a closure, and without filling package net's cache of zones.
func ExampleSet_Interfaces() {
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		cannot("userns", err, "lo [127.0.0.1/8 ::1/128]")
		return
	}
	defer s.Close()

	ifs, err := s.Interfaces(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 {
			fmt.Println(i.Name, i.Addrs)
		}
	}
	// Output: lo [127.0.0.1/8 ::1/128]
}

// No thread of a Go program can enter a user namespace. The error says so before
// the closure runs.
func ExampleSet_Run_needsProcess() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		cannot("userns", err, "needs a process: true, about user")
		return
	}
	defer s.Close()

	err = s.Run(func() error {
		panic("not reached")
	})
	var refusal *gonso.Error
	if errors.As(err, &refusal) {
		fmt.Printf("needs a process: %v, about %v\n", errors.Is(err, gonso.ErrNeedsProcess), refusal.Type)
	}
	// Output: needs a process: true, about user
}

// A Plan is for people to read; its fields are for programs that want to know.
func ExampleSet_Plan() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		cannot("userns", err, "process [user net] user: no thread of a Go program can enter it")
		return
	}
	defer s.Close()

	route := s.Plan().Functions
	fmt.Println(route.Backend, route.Join, route.Why)
	// Output: process [user net] user: no thread of a Go program can enter it
}

var readFile = gonso.Register("example.read", func(ctx context.Context, path string) ([]byte, error) {
	return os.ReadFile(path)
})

// Errors keep what errors.Is and errors.As find, on both backends.
func ExampleFunc_Do() {
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		cannot("userns", err, "open /no/such/file true")
		return
	}
	defer s.Close()

	_, err = readFile.Do(context.Background(), s, "/no/such/file")
	var pe *fs.PathError
	if errors.As(err, &pe) {
		fmt.Println(pe.Op, pe.Path, errors.Is(err, fs.ErrNotExist))
	}
	// Output: open /no/such/file true
}

// The zero Set has no namespaces: work runs where the program is.
func ExampleSet() {
	var s gonso.Set
	err := s.Run(func() error {
		fmt.Println("ran in", s.Types(), "namespaces")
		return nil
	})
	fmt.Println(err)
	// Output:
	// ran in 0 namespaces
	// <nil>
}

func ExampleOpen() {
	_, err := gonso.Open("/etc/passwd")
	fmt.Println(err)
	fmt.Println(errors.Is(err, gonso.ErrNotNamespace))
	// Output:
	// gonso: open /etc/passwd: not a namespace file
	// true
}

func ExampleType() {
	var t gonso.Type = unix.CLONE_NEWNS
	t |= gonso.Net
	fmt.Println(t)

	t, err := gonso.ParseType("uts,mount")
	fmt.Println(t, err)
	// Output:
	// mnt|net
	// mnt|uts <nil>
}
