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

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// enter mounts an overlay of an image, and makes it the root of this mount namespace. What is written
// there goes to memory.
var enter = gonso.Register("enter", func(_ context.Context, image string) (struct{}, error) {
	lower, err := os.Open(image) // keeps the image in reach below the tmpfs
	if err != nil {
		return struct{}{}, err
	}
	defer lower.Close()
	layers := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=upper,workdir=work", lower.Fd())
	return struct{}{}, errors.Join(
		unix.Mount("tmpfs", image, "tmpfs", 0, ""), os.Chdir(image),
		os.Mkdir("upper", 0o755), os.Mkdir("work", 0o755), os.Mkdir("root", 0o755),
		unix.Mount("overlay", "root", "overlay", 0, layers), os.Chdir("root"),
		unix.PivotRoot(".", "."),           // the old root now lies on the new one,
		unix.Unmount(".", unix.MNT_DETACH), // and is taken away
		os.Chdir("/"),
	)
})

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	gonso.Init()
	ctx := context.Background()
	image := must(os.MkdirTemp("", "image-")) // it has one program and one file
	defer os.RemoveAll(image)
	const prepare = "cp $0 $1/busybox && echo original >$1/file"
	must(exec.Command("sh", "-c", prepare, must(exec.LookPath("busybox")), image).Output())

	s := must(gonso.Unshare(gonso.User | gonso.Mount | gonso.PID | gonso.Net | gonso.UTS | gonso.IPC))
	defer s.Close()
	must(enter.Do(ctx, s, image))
	const script = "b=/busybox; $b cat file; echo changed >file; $b cat file; $b ls"
	fmt.Print(string(must(s.Command(ctx, "/busybox", "sh", "-c", script).CombinedOutput())))
	fmt.Print("outside: ", string(must(os.ReadFile(image+"/file"))))
}
