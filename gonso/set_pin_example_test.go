//go:build linux

package gonso_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

// Pinned namespaces outlive the Set, and the program: this one, or another, gets
// them back with FromDir. "nsenter --net=DIR/net" finds them too. It needs
// CAP_SYS_ADMIN.
func ExampleSet_Pin() {
	s, err := gonso.Unshare(gonso.Net | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	before := s.String()

	tmp, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(tmp)
	dir := filepath.Join(tmp, "blue")
	if err := s.Pin(dir); err != nil {
		fmt.Println(err)
		return
	}
	s.Close()

	files, _ := filepath.Glob(dir + "/*")
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	fmt.Println(files)

	again, err := gonso.FromDir(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer again.Close()
	fmt.Println("the same:", again.String() == before)

	if err := gonso.Unpin(dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// [net uts]
	// the same: true
}
