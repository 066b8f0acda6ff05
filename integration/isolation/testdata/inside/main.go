// Inside is what a hostile root inside a container runs.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(what string, args []string) error {
	switch what {
	case "pty":
		return pty(args[0])
	case "swap":
		return swap(args[0], args[1])
	case "mount":
		return mount(args[0], args[1])
	case "flicker":
		return flicker(args[0], args[1])
	case "listen":
		l, err := net.Listen("unix", args[0])
		if err != nil {
			return err
		}
		return serve(l)
	case "harass":
		return harass(args[0])
	case "freeze":
		return freeze(args[0], args[1])
	case "fuse":
		answers, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		end, err := testenv.SilentFSAfter("/work/fuse", args[0], testenv.Answers(answers))
		if err != nil {
			return err
		}
		defer end()
		return ready("mounted")
	}
	return fmt.Errorf("nobody knows %q", what)
}

// ready says so, and waits for the end of standard input.
func ready(what string) error {
	fmt.Println(what)
	_, err := os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() != "EOF" {
		return err
	}
	return nil
}

// pty makes a terminal, and keeps it.
func pty(ptmx string) error {
	f, err := os.OpenFile(ptmx, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	return ready(strconv.Itoa(n))
}

// swap exchanges two names without end.
func swap(a, b string) error {
	go func() {
		for {
			if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}()
	return ready("swapping")
}

// mount has one file on another now and then.
func mount(what, where string) error {
	go func() {
		for {
			err := unix.Mount(what, where, "", unix.MS_BIND, "")
			if err == nil {
				err = unix.Unmount(where, unix.MNT_DETACH)
			}
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}()
	return ready("mounting")
}

// flicker has a link to a place come and go.
func flicker(link, to string) error {
	go func() {
		for {
			os.Symlink(to, link)
			os.Remove(link)
			os.Mkdir(link, 0o755)
			os.Remove(link)
		}
	}()
	return ready("flickering")
}

func serve(l net.Listener) error {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "inside")
			c.SetDeadline(time.Now().Add(time.Second))
			c.Close()
		}
	}()
	return ready("listening")
}
