package codec

import (
	"errors"
	"os"
)

// ErrValue is matched by every [ValueError].
var ErrValue = errors.New("value cannot cross")

// A ValueError says which part of a value cannot cross, or has not crossed. It matches [ErrValue].
type ValueError struct {
	Op   string // "encode" or "decode"
	Type string // the Go type that cannot cross, or the type to decode into
	Root string // the Go type of the whole value
	Path string // to the part within it, like "Hooks[].Run"; "" for the whole
	Why  string // may be ""

	Closed bool // a file is closed: it matches os.ErrClosed too
	Large  bool // it needs more memory than there is for it: it matches ErrTooLarge too

	Errno error `json:"-"` // what the kernel said about a file, or nil; it crosses as the wrapped error
}

func (e *ValueError) Error() string {
	s := "cannot " + e.Op + " " + plainType(e.Type)
	if e.Path != "" {
		s += " in field " + shortPath(e.Path) + " of " + plainType(e.Root)
	}
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

func (e *ValueError) Is(target error) bool {
	return target == ErrValue || target == os.ErrClosed && e.Closed || target == ErrTooLarge && e.Large
}

// Unwrap returns Errno.
func (e *ValueError) Unwrap() error { return e.Errno }

// in puts a step in front of the path; "" is no step.
func (e *ValueError) in(step string) *ValueError {
	e.Path = joinStep(step, e.Path)
	return e
}

func joinStep(step, path string) string {
	if step != "" && path != "" && path[0] != '[' {
		return step + "." + path
	}
	return step + path
}

// fault makes the error of a part whose shape is sh.
func (sh *shape) fault(why string) *ValueError {
	return &ValueError{Op: "encode", Type: sh.t.String(), Why: why}
}
