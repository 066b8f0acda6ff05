//go:build !linux

package gonso

import (
	"errors"

	"github.com/gonso/gonso/reexec"
)

func findHint(string, Type, error, func(*evidence)) (string, bool) {
	return "namespaces are a feature of Linux", false
}

func (c *core) addOwner(*evidence, error) {}

func launchHint(error) string { return "" }

func limitError(op string, _ *reexec.LaunchError) *Error {
	return refused(op, 0, errors.ErrUnsupported)
}
