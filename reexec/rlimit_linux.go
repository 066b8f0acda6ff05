package reexec

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// wants says by which errors the kernel refuses what a limit does not leave room for.
var wants = map[int][]unix.Errno{
	unix.RLIMIT_NOFILE: {unix.EBADF, unix.EMFILE}, // EBADF of dup3
	unix.RLIMIT_AS:     {unix.ENOMEM},
	unix.RLIMIT_DATA:   {unix.ENOMEM},
	unix.RLIMIT_STACK:  {unix.ENOMEM, unix.E2BIG},
	unix.RLIMIT_NPROC:  {unix.EAGAIN},
	unix.RLIMIT_FSIZE:  {unix.EFBIG},
}

// mayEnd returns those of the limits that may be why a program ends so early, with this status.
func mayEnd(limits []Rlimit, status string) []Rlimit {
	signaled := strings.HasPrefix(status, "signal: ")
	return slices.DeleteFunc(slices.Clone(limits), func(r Rlimit) bool {
		bySignal := r.Resource == unix.RLIMIT_CPU || r.Resource == unix.RLIMIT_RTTIME
		return wants[r.Resource] == nil && !(bySignal && signaled)
	})
}

// suspect lists limits that were set for a worker and may be why it has not come up, or is "".
func suspect(limits []Rlimit) string {
	if len(limits) == 0 {
		return ""
	}
	return "possibly because of Worker.Rlimits: " + limitList(limits)
}

func limitList(limits []Rlimit) string {
	var said []string
	for _, r := range limits {
		said = append(said, fmt.Sprintf("%s is %d", sys.LimitNames[r.Resource], r.Soft))
	}
	return strings.Join(said, ", ")
}

// suspecting adds to a refused step of a worker's launch the limits that may be why.
func suspecting(limits []Rlimit, err error) error {
	le, ok := err.(*LaunchError)
	if !ok || le.Limit != nil || le.Option != "" {
		return err
	}
	var of []Rlimit
	for _, r := range limits {
		if errno, ok := le.Err.(unix.Errno); ok && slices.Contains(wants[r.Resource], errno) {
			of = append(of, r)
		}
	}
	if len(of) == 0 {
		return err
	}
	both := *le
	both.Err = fmt.Errorf("%w, %s", le.Err, suspect(of))
	return &both
}
