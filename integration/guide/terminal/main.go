//go:build linux

// Command terminal runs a program inside on a pseudo terminal of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// openTerminal returns both ends of a new pseudo terminal: see pts(4).
func openTerminal() (ours, theirs *os.File) {
	ours = must(os.OpenFile("/dev/ptmx", os.O_RDWR, 0))
	fd := int(ours.Fd())
	size := unix.Winsize{Row: 24, Col: 80}
	err := errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), // unlocks it
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size))
	name := fmt.Sprintf("/dev/pts/%d", must(unix.IoctlGetInt(fd, unix.TIOCGPTN)))
	if err != nil {
		log.Fatal(err)
	}
	return ours, must(os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0))
}

func main() {
	s := must(gonso.Unshare(gonso.User | gonso.UTS))
	defer s.Close()
	ours, theirs := openTerminal()
	const script = "test -t 0 && echo a terminal of $(stty size)"
	c := s.Command(context.Background(), "sh", "-c", script)
	c.Stdin, c.Stdout, c.Stderr = theirs, theirs, theirs
	c.Setsid, c.Setctty, c.Ctty = true, true, 0 // descriptor 0 becomes its controlling terminal
	if err := c.Start(); err != nil {
		log.Fatal(err)
	}
	theirs.Close() // so that reading ends when the program does
	screen, err := io.ReadAll(ours)
	if !errors.Is(err, unix.EIO) { // which is the end of a terminal
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(string(screen), "\r\n", "\n"))
	if err := c.Wait(); err != nil {
		log.Fatal(err)
	}
}
