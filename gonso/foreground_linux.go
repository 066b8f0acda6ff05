package gonso

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// A terminal has one foreground process group, which may read from it. An interactive shell puts
// its own group there, and gives the terminal back when it ends. It cannot do so if it is killed.
// It cannot do so in another pid namespace, either: there the former group has no number (tcgetpgrp
// and getpgrp answer 0). The terminal then stays with an empty group, and a process that reads from
// it is stopped or gets EIO.

// terminal opens the terminal of this process's session, if there is one.
func terminal() (fd int, err error) {
	return unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
}

// foreground reports whether this process is in the foreground group of its terminal.
func foreground() bool {
	fd, err := terminal()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// mayLoseTerminal reports whether the program may take the terminal that this process has now, and
// not give it back. It is called before the start, and is cheap unless a shell is likely.
func (c *Cmd) mayLoseTerminal(foreign Type, exposed bool) bool {
	if c.Setsid || exposed && !c.KeepSession {
		return false // it has a session of its own, and so not this terminal
	}
	if _, file := c.Stdin.(*os.File); !file && foreign&PID == 0 {
		return false
	}
	return foreground()
}

// takeTerminalBack puts the group of this process into the foreground again. It does so if the
// group was there before the start, and a group that has ended is there now.
func (c *Cmd) takeTerminalBack() {
	if !c.atTerminal {
		return
	}
	procfs.AtHome(func() {
		fd, err := terminal()
		if err != nil {
			return
		}
		defer unix.Close(fd)
		own, pgrp := unix.Getpgrp(), 0
		if pgrp, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || pgrp == own {
			return
		}
		if pgrp != c.inner.Process.Pid && (pgrp <= 0 || unix.Kill(-pgrp, 0) != unix.ESRCH) {
			return // the group has processes, and other code has put it there
		}
		setForeground(fd, own)
	})
}

// setForeground is tcsetpgrp(3) for a process in the background. The kernel would stop the whole
// group by SIGTTOU, unless the calling thread blocks that signal (drivers/tty/tty_jobctrl.c).
func setForeground(tty, pgrp int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGTTOU - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, pgrp) // the terminal may have hung up
	if unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) != nil {
		runtime.LockOSThread() // is never undone, so that the thread ends with its goroutine
	}
}
