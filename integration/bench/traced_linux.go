package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const tracedWay = "StartProcess of this program stopped by ptrace, maps, detach"

// unshareTraced makes a user namespace as programs do that have no library for it: a process that
// ptrace stops at its exec keeps the namespace until its file is open.
func unshareTraced() (err error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"bench-nothing"}, &os.ProcAttr{Sys: &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Ptrace: true}})
	if err != nil {
		return err
	}
	defer func() {
		p.Kill()
		_, werr := p.Wait()
		err = errors.Join(err, werr)
	}()
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.Pid, &status, 0, nil); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if !status.Stopped() {
		return fmt.Errorf("the traced process is not stopped: %#x", uint32(status))
	}
	for _, w := range []struct{ file, text string }{
		{"uid_map", fmt.Sprintf("0 %d 1", os.Geteuid())},
		{"setgroups", "deny"},
		{"gid_map", fmt.Sprintf("0 %d 1", os.Getegid())},
	} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", p.Pid, w.file), []byte(w.text), 0); err != nil {
			return err
		}
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syscall.PtraceDetach(p.Pid))
}
