//go:build linux

// Command terminal runs a program inside on a pseudo terminal of its own.
package main

import (
	"bytes"
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

// openTerminal returns both ends of a new pseudo terminal: see pts(4).
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	return ours, theirs, err
}

func main() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ours, theirs, err := openTerminal()
	if err != nil {
		log.Fatal(err)
	}
	size := unix.Winsize{Row: 24, Col: 80}
	if err := unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		log.Fatal(err)
	}

	const script = "test -t 0 && echo a terminal of $(stty size)"
	c := s.Command(context.Background(), "sh", "-c", script)
	c.Stdin, c.Stdout, c.Stderr = theirs, theirs, theirs
	c.Setsid, c.Setctty, c.Ctty = true, true, 0 // descriptor 0 becomes its controlling terminal
	if err := c.Start(); err != nil {
		log.Fatal(err)
	}
	theirs.Close() // so that reading ends when the program does
	var screen bytes.Buffer
	if _, err := io.Copy(&screen, ours); !errors.Is(err, unix.EIO) { // the end of a terminal
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(screen.String(), "\r\n", "\n"))
	if err := c.Wait(); err != nil {
		log.Fatal(err)
	}
}
