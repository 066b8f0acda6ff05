package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// harass does a thing to every process that has come since it began, from a line of standard input on until
// that ends. It says so the first time that it could.
func harass(how string) error {
	do, ok := map[string]func(pid int) bool{
		"stop": func(pid int) bool { return unix.Kill(pid, unix.SIGSTOP) == nil },
		"kill": func(pid int) bool { return unix.Kill(pid, unix.SIGKILL) == nil },
		"seize": func(pid int) bool {
			return eachThread(pid, func(tid int) error { return unix.PtraceSeize(tid) })
		},
		"seize and stop": func(pid int) bool {
			return eachThread(pid, func(tid int) error {
				if err := unix.PtraceSeize(tid); err != nil {
					return err
				}
				return unix.PtraceInterrupt(tid)
			})
		},
	}[how]
	if !ok {
		return fmt.Errorf("no way %q", how)
	}
	runtime.LockOSThread() // who traces is a thread
	spared := make(map[int]bool)
	for _, pid := range processes() {
		spared[pid] = true
	}
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		in.ReadString('\n')
	}()
	caught := 0
	for {
		select {
		case <-over:
			fmt.Println("caught", caught)
			return nil
		default:
		}
		for _, pid := range processes() {
			if spared[pid] || !do(pid) {
				continue
			}
			if caught++; caught == 1 {
				fmt.Println("caught")
			}
			// A stopped one may be told to go on, and who comes later has other threads.
			spared[pid] = how == "kill"
		}
	}
}

func processes() (pids []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func eachThread(pid int, do func(tid int) error) (any bool) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, t := range tasks {
		tid, _ := strconv.Atoi(filepath.Base(t))
		any = do(tid) == nil || any
	}
	return any
}

// freeze freezes a cgroup when it is told to, once, or again and again.
func freeze(dir, how string) error {
	write := func(s string) error { return os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(s), 0) }
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	in.ReadString('\n')
	if how == "once" {
		if err := write("1"); err != nil {
			return err
		}
		fmt.Println("frozen")
	} else {
		over := make(chan struct{})
		go func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				write("1")
				write("0")
			}
		}()
		defer close(over)
	}
	in.ReadString('\n')
	return write("0")
}
