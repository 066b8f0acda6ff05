//go:build !linux

package reexec

import "errors"

// Supported returns why this system has no process backend.
func Supported() error { return errors.ErrUnsupported }

// starter is nobody here.
type starter struct{}
