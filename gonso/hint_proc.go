package gonso

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gonso/gonso/internal/procfs"
)

// procHint says what to do if nothing is mounted on /proc, or only the procfs of another pid
// namespace.
func procHint(err error) string {
	if errors.Is(err, procfs.ErrForeign) || errors.Is(err, procfs.ErrNone) {
		return "mount one of this program's own: mount -t proc proc /proc, or start it by unshare(1) with --mount-proc" // path: advice
	}
	return ""
}

// procOption is the mount option by which a procfs hides something, such as "subset=pid", or "".
// mounts are the mounts that a thread sees.
func procOption(mounts []mountLine, name string) (option string) {
	for _, m := range mounts { // the last mount on a directory is the visible one
		if m.point != "/proc" || m.fs != "proc" { // path: compared with mount points
			continue
		}
		option = ""
		for o := range strings.SplitSeq(m.super, ",") {
			if strings.HasPrefix(o, name+"=") {
				option = o
			}
		}
	}
	return option
}

// sayHidden is for a process that exists and that /proc does not show.
func sayHidden(pid int, option string) string {
	return fmt.Sprintf("process %d is there, and /proc, mounted with %s, hides it from those who may not trace it: "+
		"it is shown to the group that the option gid= names, and to all after mount -o remount,hidepid=0 /proc", pid, option)
}

// sayUnread is for sysctls that may be the cause, but could not be read.
func sayUnread(names, option string) string {
	return fmt.Sprintf("%s, which cannot be read here, as /proc is mounted with %s", names, option)
}
