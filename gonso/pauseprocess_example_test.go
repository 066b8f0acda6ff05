//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var mountStore = gonso.Register("example.mountStore", func(_ context.Context, dir string) (struct{}, error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return struct{}{}, os.NewSyscallError("mount", err)
	}
	return struct{}{}, os.WriteFile(filepath.Join(dir, "layers"), []byte("mounted by the first program\n"), 0o600)
})

// first makes namespaces, mounts something in them, and leaves a process behind that keeps them: as
// podman leaves its pause process. It does nothing, and its number goes to a file.
func first(store, pidFile string) error {
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := mountStore.Do(ctx, s, store); err != nil {
		return err
	}

	pause := s.Command(ctx, "sleep", "2147483647")
	pause.Setsid = true // ^C is not for it
	if err := pause.Start(); err != nil {
		return err
	}
	go pause.Wait() // until this program ends, which the pause process outlives
	return os.WriteFile(pidFile, []byte(strconv.Itoa(pause.Process.Pid)), 0o600)
}

// later is another program, or the same one started again: it joins by the number. For a program
// that needs to be in the namespaces as a whole it is Set.Self in place of Set.Command.
func later(store string, pid int) ([]byte, error) {
	s, err := gonso.FromPID(pid, gonso.User, gonso.Mount)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Command(context.Background(), "cat", filepath.Join(store, "layers")).Output()
}

// A process keeps namespaces of a plain user's program for later ones. Mounts that were made in
// them stay, as does who is root there. Pinning them would take privileges on the host.
func Example_pauseProcess() {
	gonso.Init() // first in main

	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, pidFile := filepath.Join(dir, "store"), filepath.Join(dir, "pause.pid")
	if err := os.Mkdir(store, 0o700); err != nil {
		fmt.Println(err)
		return
	}

	if err := first(store, pidFile); err != nil {
		fmt.Println(err)
		return
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		out, err := later(store, pid)
		if err != nil {
			fmt.Println(err)
		}
		fmt.Print(string(out))
	}
	outside, _ := os.ReadDir(store)
	fmt.Println("files outside:", len(outside))

	// With it the namespaces end, and what was mounted.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		fmt.Println(err)
	}
	// Output:
	// mounted by the first program
	// mounted by the first program
	// files outside: 0
}
