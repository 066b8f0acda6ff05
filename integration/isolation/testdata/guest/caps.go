package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capset is for all threads.
func capset(header *unix.CapUserHeader, caps *[2]unix.CapUserData) {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(caps)), 0)
	if errno != 0 {
		check(errno)
	}
}
