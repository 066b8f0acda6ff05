//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
)

func start(name string, _ *options) int {
	fmt.Fprintf(os.Stderr, "builder %s: it needs the namespaces of Linux: %v\n", name, errors.ErrUnsupported)
	return 1
}
