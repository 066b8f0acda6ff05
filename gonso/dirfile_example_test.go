//go:build linux

package gonso_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

// A directory that was opened is the working directory of work, whatever its path means by then.
func ExampleDirFile() {
	path, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	dir, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dir.Close()

	var s gonso.Set // or any other
	err = s.Run(func() error {
		return os.WriteFile("made", nil, 0o600)
	}, gonso.DirFile(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = os.Stat(filepath.Join(path, "made"))
	fmt.Println("made there:", err == nil)
	// Output: made there: true
}
