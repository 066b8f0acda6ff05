//go:build linux

package gonso_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

// A closure in a directory and with a umask of its own. The rest of the program
// keeps its own.
func ExampleDir() {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var here gonso.Set // the zero Set: work runs where it is
	err = here.Run(func() error {
		return os.WriteFile("file", nil, 0o666)
	}, gonso.Dir(dir), gonso.Umask(0o027))
	if err != nil {
		fmt.Println(err)
		return
	}
	fi, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(fi.Mode())
	// Output: -rw-r-----
}
