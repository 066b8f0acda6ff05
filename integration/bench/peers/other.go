//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "peers: namespaces exist on Linux only")
	os.Exit(1)
}
