package gonso

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// version is a kernel's version: 5.10. The zero value means that it is not known.
type version struct{ major, minor int }

// before is false for a kernel that is not known.
func (v version) before(than version) bool {
	return v != version{} && (v.major < than.major || v.major == than.major && v.minor < than.minor)
}

// has is false for a kernel that is not known, too.
func (v version) has(since version) bool { return v != version{} && !v.before(since) }

// parseVersion reads the release of uname(2): "5.10.0-32-amd64".
func parseVersion(release string) version {
	major, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, err := strconv.Atoi(major)
	b, err2 := strconv.Atoi(rest[:end])
	if err != nil || err2 != nil {
		return version{}
	}
	return version{a, b}
}

func (v version) String() string { return fmt.Sprintf("Linux %d.%d", v.major, v.minor) }

// typeSince says since which kernel each type exists, and the option of the kernel's configuration
// for it. Mount namespaces have no option.
var typeSince = map[Type]struct {
	version
	option string
}{
	Cgroup: {version{4, 6}, "CONFIG_CGROUPS"}, IPC: {version{2, 6}, "CONFIG_IPC_NS"}, Net: {version{2, 6}, "CONFIG_NET_NS"},
	PID: {version{2, 6}, "CONFIG_PID_NS"}, Time: {version{5, 6}, "CONFIG_TIME_NS"}, User: {version{3, 8}, "CONFIG_USER_NS"},
	UTS: {version{2, 6}, "CONFIG_UTS_NS"},
}

// sayMissing names types that a kernel does not have.
func sayMissing(types Type) string {
	var said []string
	types.each(func(i int, t Type) {
		since := typeSince[t]
		said = append(said, fmt.Sprintf("this kernel has no %s namespaces: they came with %v, and are there where it was built with %s",
			typeTable[i].name, since.version, since.option))
	})
	return strings.Join(said, "; ")
}

// missingTypeError makes a refusal match [errors.ErrUnsupported], too: the kernel does not have the
// type. The text stays the refusal's, as the hint says the rest.
type missingTypeError struct{ error }

func (e missingTypeError) Unwrap() []error { return []error{e.error, errors.ErrUnsupported} }

// callSince says since which kernel a system call exists, for the newer ones that gonso makes.
var callSince = map[string]version{
	"clone3": {5, 3}, "close_range": {5, 9}, "execveat": {3, 19}, "fsopen": {5, 2}, "memfd_create": {3, 17}, "move_mount": {5, 2},
	"open_tree": {5, 2}, "openat2": {5, 6}, "pidfd_open": {5, 3},
}

// overlaySince is the first kernel that can mount overlay file systems in user namespaces.
var overlaySince = version{5, 11}

// older: the kernel is known not to have the call that was refused.
func (r *refusal) older() bool {
	since, young := callSince[r.op]
	return young && r.kernel.before(since)
}

// call is the system call that was refused.
func (r *refusal) call() string {
	if r.mounting() && r.op != "pivot_root" {
		return "mount"
	}
	return strings.TrimSuffix(r.op, " in")
}
