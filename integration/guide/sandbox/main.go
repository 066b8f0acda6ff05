//go:build linux

// Command sandbox runs a program on a copy of an image that nobody else sees: an overlay, which is
// the root of a mount namespace.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// enter mounts the overlay of an image and makes it the root of this mount namespace.
var enter = gonso.Register("enter", func(_ context.Context, image string) (struct{}, error) {
	// A file system in memory, over the image's path: nothing else knows it.
	lower, err := os.Open(image) // keeps the image in reach
	if err != nil {
		return struct{}{}, err
	}
	defer lower.Close()
	if err := unix.Mount("tmpfs", image, "tmpfs", 0, ""); err != nil {
		return struct{}{}, err
	}
	upper, work, root := image+"/upper", image+"/work", image+"/root"
	layers := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s", lower.Fd(), upper, work)
	return struct{}{}, errors.Join(
		os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755), os.Mkdir(root, 0o755),
		unix.Mount("overlay", root, "overlay", 0, layers),
		os.Chdir(root),
		unix.PivotRoot(".", "."),           // the old root now lies on the new one,
		unix.Unmount(".", unix.MNT_DETACH), // and is taken away
		os.Chdir("/"),
	)
})

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	gonso.Init()
	ctx := context.Background()
	image, err := os.MkdirTemp("", "image-") // an image with one program and one file
	check(err)
	defer os.RemoveAll(image)
	busybox, err := exec.LookPath("busybox")
	check(err)
	program, err := os.ReadFile(busybox)
	check(err)
	check(os.WriteFile(filepath.Join(image, "busybox"), program, 0o755))
	check(os.WriteFile(filepath.Join(image, "greeting"), []byte("hello from the image\n"), 0o644))

	s, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.PID | gonso.Net | gonso.UTS | gonso.IPC)
	check(err)
	defer s.Close()
	_, err = enter.Do(ctx, s, image)
	check(err)
	const script = "b=/busybox; $b cat greeting; echo changed >greeting; $b cat greeting; $b ls"
	out, err := s.Command(ctx, "/busybox", "sh", "-c", script).CombinedOutput()
	fmt.Print(string(out))
	check(err)
	outside, err := os.ReadFile(filepath.Join(image, "greeting"))
	check(err)
	fmt.Print("outside: ", string(outside))
}
