package gonso

import (
	"slices"
	"strconv"
	"strings"
)

// mountLine has the fields that gonso uses of a line of /proc/PID/mountinfo
// (proc_pid_mountinfo(5)).
type mountLine struct {
	id     int
	point  string
	shared bool // a mount on it is also made on its peers
	fs     string
	super  string // options of the file system
}

// parseMountinfo leaves out lines that it does not understand.
func parseMountinfo(text string) []mountLine {
	var lines []mountLine
	for line := range strings.Lines(text) {
		// id, parent, device, root, mount point, options, optional fields..., "-"
		f := strings.Fields(line)
		end := slices.Index(f, "-")
		if end < 6 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		m := mountLine{id: id, point: unescape(f[4]),
			shared: slices.ContainsFunc(f[6:end], func(o string) bool { return strings.HasPrefix(o, "shared:") })}
		if rest := f[end+1:]; len(rest) >= 3 { // type, source, options
			m.fs, m.super = rest[0], rest[2]
		}
		lines = append(lines, m)
	}
	return lines
}

// unescape undoes the kernel's escapes of white space and backslashes, such as \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
