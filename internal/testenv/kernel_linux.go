package testenv

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Linux is a version of the kernel, or a later one.
func Linux(major, minor int) Req {
	name := fmt.Sprintf("Linux %d.%d", major, minor)
	return Req{name, nil, func() string {
		var u unix.Utsname
		var maj, min int
		if err := unix.Uname(&u); err != nil {
			return err.Error()
		}
		release := unix.ByteSliceToString(u.Release[:])
		if _, err := fmt.Sscanf(release, "%d.%d", &maj, &min); err != nil {
			return release + ": " + err.Error()
		}
		if maj > major || maj == major && min >= minor {
			return ""
		}
		return "this is " + release
	}}
}

// TimeNS are time namespaces, which a kernel may be built without, as those of arm are.
var TimeNS = Req{features["time"], []string{"time"}, func() string {
	if Home("time") == "" {
		return "there is no ns/time"
	}
	return ""
}}
