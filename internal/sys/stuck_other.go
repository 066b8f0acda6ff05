//go:build !linux

package sys

import (
	"errors"
	"time"
)

// KillTimeout is how long a process may take to end once it was killed.
const KillTimeout = 500 * time.Millisecond

// Stuck is for Linux.
func Stuck(int) error { return errors.ErrUnsupported }

// Killed is for Linux.
func Killed(int) bool { return false }
