package gonso

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// IDMap is one line of a user namespace's uid_map or gid_map: see user_namespaces(7). Size ids of
// the new namespace, from ContainerID on, are the ids of its parent from HostID on. The fields are
// those of LinuxIDMapping in the OCI runtime specification, to which an IDMap converts.
type IDMap struct {
	ContainerID uint32
	HostID      uint32
	Size        uint32
}

// SysIDMaps converts id maps of the type syscall.SysProcIDMap, which [syscall.SysProcAttr] has.
// Their fields are of type int. If a number cannot be an id, the error names the line, and matches
// [os.ErrInvalid].
func SysIDMaps[M ~struct{ ContainerID, HostID, Size int }](maps []M) ([]IDMap, error) {
	all := make([]IDMap, len(maps))
	for i, m := range maps {
		s := struct{ ContainerID, HostID, Size int }(m)
		for _, n := range []int{s.ContainerID, s.HostID, s.Size} {
			if n < 0 || uint64(n) > pastLastID {
				return nil, invalid("id maps", fmt.Sprintf("line %d (%d %d %d): %d is no id or number of ids", i, s.ContainerID, s.HostID, s.Size, n))
			}
		}
		all[i] = IDMap{uint32(s.ContainerID), uint32(s.HostID), uint32(s.Size)}
	}
	return all, nil
}

// maxIDMapLines is the kernel's UID_GID_MAP_MAX_EXTENTS (340 since Linux 4.15).
const maxIDMapLines = 340

// checkIDMaps refuses maps to which the kernel would only answer EINVAL, and says what is wrong.
// The id 4294967295 is never valid: it is (uid_t) -1.
func checkIDMaps(which string, maps []IDMap) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s map: %s: %w", which, fmt.Sprintf(format, args...), os.ErrInvalid)
	}
	if len(maps) == 0 {
		return bad("it has no lines (NoIDMaps leaves a namespace without maps)")
	}
	if len(maps) > maxIDMapLines {
		return bad("%d lines are more than the kernel's %d", len(maps), maxIDMapLines)
	}
	// map_write of kernel/user_namespace.c takes one write of less than a page.
	if size, page := len(formatIDMaps(maps)), os.Getpagesize(); size >= page {
		return bad("%d lines of %d bytes in all do not fit the kernel's limit, a page of %d bytes", len(maps), size, page)
	}
	for i, m := range maps {
		if m.Size == 0 {
			return bad("line %d maps no ids (Size is 0)", i)
		}
		const end = uint64(1)<<32 - 1
		if uint64(m.ContainerID)+uint64(m.Size) > end || uint64(m.HostID)+uint64(m.Size) > end {
			return bad("line %d (%d %d %d) runs past the last id, %d", i, m.ContainerID, m.HostID, m.Size, end-1)
		}
		for j, o := range maps[:i] {
			if overlap(m.ContainerID, o.ContainerID, m.Size, o.Size) {
				return bad("lines %d and %d overlap inside", j, i)
			}
			if overlap(m.HostID, o.HostID, m.Size, o.Size) {
				return bad("lines %d and %d overlap outside", j, i)
			}
		}
	}
	return nil
}

func overlap(a, b, na, nb uint32) bool {
	return uint64(a) < uint64(b)+uint64(nb) && uint64(b) < uint64(a)+uint64(na)
}

// formatIDMaps writes maps the way /proc/PID/uid_map takes them.
func formatIDMaps(maps []IDMap) string {
	var b []byte
	for _, m := range maps {
		for i, n := range [...]uint32{m.ContainerID, m.HostID, m.Size} {
			b = append(strconv.AppendUint(b, uint64(n), 10), "  \n"[i])
		}
	}
	return string(b)
}

// parseIDMaps reads the text of /proc/PID/uid_map.
func parseIDMaps(text string) ([]IDMap, error) {
	var maps []IDMap
	for line := range strings.Lines(text) {
		bad := func(why string) ([]IDMap, error) {
			return nil, fmt.Errorf("line %d of an id map, %.80q: %s", len(maps), line, why)
		}
		f := strings.Fields(line)
		if len(f) != 3 {
			return bad("it is to have three numbers")
		}
		if len(maps) == maxIDMapLines {
			return bad("there are more than the kernel has")
		}
		var n [3]uint32
		for i := range n {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return bad(err.Error())
			}
			n[i] = uint32(v)
		}
		maps = append(maps, IDMap{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return maps, nil
}
