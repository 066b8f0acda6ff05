//go:build !linux

package procfs

import "errors"

// Stuck is for Linux.
func Stuck(int) error { return errors.ErrUnsupported }

// Killed is for Linux.
func Killed(int) bool { return false }
