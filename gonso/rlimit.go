package gonso

import "fmt"

// Rlimit is a limit of setrlimit(2) for a process. A kernel of 32 bits takes 2^32-1 and more for no
// limit.
type Rlimit struct {
	Resource   int    // unix.RLIMIT_NOFILE, ...
	Soft, Hard uint64 // in the unit of the resource; unix.RLIM_INFINITY is no limit
}

// badRlimits says what is wrong with limits. It is "" if they are good.
func badRlimits(limits []Rlimit) string {
	known := make(map[int]bool)
	for _, r := range limits {
		switch {
		case r.Resource < 0 || r.Resource > 15: // RLIM_NLIMITS
			return fmt.Sprintf("Rlimits has resource %d, which is none", r.Resource)
		case r.Soft > r.Hard:
			return fmt.Sprintf("Rlimits has a soft limit of %d above the hard limit of %d, for resource %d", r.Soft, r.Hard, r.Resource)
		case known[r.Resource]:
			return fmt.Sprintf("Rlimits has resource %d twice", r.Resource)
		}
		known[r.Resource] = true
	}
	return ""
}
