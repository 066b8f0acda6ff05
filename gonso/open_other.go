//go:build !linux

package gonso

import (
	"errors"
	"os"
)

func openFiles([]*os.File) (*core, error) { return nil, refused("open", 0, errors.ErrUnsupported) }

func openPIDFD(_ *os.File, t Type, _ bool) (*core, error) {
	return nil, refused("open", t, errors.ErrUnsupported)
}

func openCurrent(t Type, _ bool) (*core, error) {
	return nil, refused("current", t, errors.ErrUnsupported)
}
func openPID(_ int, t Type, _ bool) (*core, error) {
	return nil, refused("open", t, errors.ErrUnsupported)
}
func openDir(_ string, t Type, _ bool) (*core, error) {
	return nil, refused("open", t, errors.ErrUnsupported)
}
func openPaths([]string) (*core, error) { return nil, refused("open", 0, errors.ErrUnsupported) }
