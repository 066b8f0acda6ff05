//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/gonso/gonso/gonso"
)

// A sysctl of the Set's net namespace is read and written from outside. /proc/sys/net is always
// the one inside.
func ExampleSet_OpenFile() {
	gonso.Init() // first in main: in a user namespace a worker does it

	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	f, err := s.OpenFile(context.Background(), "/proc/sys/net/ipv4/ip_forward", os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString("1"); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		fmt.Println(err)
		return
	}
	value, err := io.ReadAll(f)
	fmt.Print("ip_forward inside: ", string(value))
	if err != nil {
		fmt.Println(err)
	}
	// Output: ip_forward inside: 1
}
