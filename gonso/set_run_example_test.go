//go:build linux

package gonso_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/gonso"
)

// A closure runs on a thread, which is given back afterwards. It needs
// CAP_SYS_ADMIN.
func ExampleSet_Run() {
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	var devices []byte
	err = s.Run(func() (err error) {
		devices, err = os.ReadFile("/proc/thread-self/net/dev") // /proc/net would be outside
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(strings.Contains(string(devices), "lo:"))
	// Output: true
}
