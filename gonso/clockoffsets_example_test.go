//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var uptime = gonso.Register("example.uptime", func(context.Context, struct{}) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
})

// Inside, the machine has been up for at least a thousand days.
func ExampleClockOffsets() {
	gonso.Init() // first in main

	const ahead = 1000 * 24 * time.Hour
	s, err := gonso.Unshare(gonso.User|gonso.Time, gonso.ClockOffsets(ahead, ahead))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	up, err := uptime.Do(context.Background(), s, struct{}{})
	fmt.Println(up > ahead, err)
	// Output: true <nil>
}
