//go:build linux

package gonso_test

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// A library that wants a number gets the Set's own, for as long as the Set is open. With package
// netlink it is netlink.NewHandleAt(netns.NsHandle(s.Fd(gonso.Net))).
func ExampleSet_Fd() {
	s, err := gonso.Current(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}

	var st unix.Stat_t
	if err := unix.Fstat(s.Fd(gonso.Net), &st); err != nil {
		fmt.Println(err)
		return
	}
	id, err := s.ID(gonso.Net)
	fmt.Println("this namespace:", st.Ino == id.Ino, err)
	runtime.KeepAlive(s) // without a Close after its last use, the garbage collector could close it before

	s.Close()
	fmt.Println("closed:", s.Fd(gonso.Net) >= 0)
	// Output:
	// this namespace: true <nil>
	// closed: false
}
