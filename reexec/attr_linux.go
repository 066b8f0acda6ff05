package reexec

import (
	"slices"

	"golang.org/x/sys/unix"
)

// This file has the steps that set the limits and capabilities of a program.

// Capabilities are sets of capabilities, a bit for each CAP_*.
type Capabilities struct{ Bounding, Effective, Permitted, Inheritable, Ambient uint64 }

// lookAtAttrs looks at the state of this process that decides about these steps.
func (g *Program) lookAtAttrs() {
	for _, r := range g.Rlimits {
		var now unix.Rlimit
		if unix.Prlimit(0, r.Resource, nil, &now) == nil && r.Hard > now.Max {
			g.raised = append(g.raised, r)
		}
	}
	g.bound = ^uint64(0) // joining a user namespace gives all capabilities (user_namespaces(7)), also unknown ones
	if g.Capabilities == nil || joinsType(g.Join, newUser) {
		return
	}
	for c := range 64 {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil || has == 0 {
			g.bound &^= 1 << c
		}
	}
}

func (g *Program) limits(resource int) bool {
	return slices.ContainsFunc(g.Rlimits, func(r Rlimit) bool { return r.Resource == resource })
}

// limitFirst raises the hard limits for which the privileges of outside are needed. The soft ones
// are set last: the launcher itself must not run into them.
func (l *launch) limitFirst(g *Program) {
	for _, r := range g.raised {
		l.ofLimit("Rlimits", &r, func() { l.Prlimit(r.Resource, r.Hard, r.Hard) })
	}
}

// limitLast returns the function that runs then, and sets the program's limits after it.
func (l *launch) limitLast(g *Program, then func()) func() {
	return func() {
		then()
		for _, r := range g.Rlimits {
			l.ofLimit("Rlimits", &r, func() { l.Prlimit(r.Resource, r.Soft, r.Hard) })
		}
	}
}

// bound drops capabilities from the bounding set: those that may be there and must not be.
func (l *launch) bound(set, now uint64) {
	l.of("Capabilities.Bounding", func() {
		for c := range 64 {
			if bit := uint64(1) << c; set&bit == 0 && now&bit != 0 {
				l.Prctl(unix.PR_CAPBSET_DROP, c).Tolerate(unix.EINVAL) // the kernel has no such capability
			}
		}
	})
}

// setCapabilities sets the other sets to the given ones.
func (l *launch) setCapabilities(c *Capabilities) {
	l.of("Capabilities", func() {
		l.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
		l.Capset(c.Effective, c.Permitted, c.Inheritable)
	})
	for n := range 64 {
		if c.Ambient&(1<<n) != 0 {
			l.of("Capabilities.Ambient", func() { l.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n) })
		}
	}
}
