// Command closures makes a namespace, runs a closure in it and pins it.
package main

import (
	"os"

	"github.com/gonso/gonso/gonso"
)

func main() {
	s, err := gonso.Unshare(gonso.Net)
	if err == nil {
		err = s.Run(func() error { return nil })
	}
	if err == nil {
		err = s.Pin(os.Args[1])
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
