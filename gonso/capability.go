package gonso

import "fmt"

// Capabilities are the capability sets of a process. The numbers are the CAP_* of package unix. The
// sets are those of the OCI runtime specification, which has names in place of numbers. An empty
// set has no default: with an empty Bounding, all capabilities are dropped from the bounding set.
//
// The process has these sets when it executes the program. The program has the sets that execve(2)
// makes of them, by the rules of capabilities(7):
//
//   - With a uid other than 0, the program has the capabilities in Ambient.
//   - With uid 0, it has the capabilities in Bounding and in Inheritable. Permitted and Effective
//     do not count.
//   - With uid 0 and NoNewPrivs, it has the ones of these that are in Permitted too.
//
// Each capability in Effective must be in Permitted. Each in Ambient must be in Permitted and in
// Inheritable. Each in Inheritable must be in Bounding.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient []uintptr
}

// named lists the sets with their names. A set comes after the set that must contain it.
func (c *Capabilities) named() []namedCaps {
	return []namedCaps{{"Bounding", c.Bounding}, {"Permitted", c.Permitted}, {"Inheritable", c.Inheritable}, {"Effective", c.Effective}, {"Ambient", c.Ambient}}
}

type namedCaps struct {
	name string
	caps []uintptr
}

// bad says what is wrong with the sets; it is "" if they are good. last is the greatest capability
// that the kernel has, or negative.
func (c *Capabilities) bad(last int64) string {
	for _, s := range c.named() {
		for _, n := range s.caps {
			switch {
			case n > 63:
				return fmt.Sprintf("Capabilities.%s has %d, which is no capability", s.name, n)
			case last >= 0 && int64(n) > last:
				return fmt.Sprintf("Capabilities.%s has %d, and the last capability of the kernel is %d", s.name, n, last)
			}
		}
	}
	for _, within := range []struct {
		name, outer string
		in, of      []uintptr
	}{
		{"Inheritable", "Bounding", c.Inheritable, c.Bounding},
		{"Effective", "Permitted", c.Effective, c.Permitted},
		{"Ambient", "Permitted", c.Ambient, c.Permitted},
		{"Ambient", "Inheritable", c.Ambient, c.Inheritable},
	} {
		if left := setOf(within.in) &^ setOf(within.of); left != 0 {
			return fmt.Sprintf("Capabilities.%s has %d, which is not in Capabilities.%s (capabilities(7))", within.name, left.first(), within.outer)
		}
	}
	return ""
}

// setOf makes a set of capabilities below 64.
func setOf(caps []uintptr) (set capSet) {
	for _, c := range caps {
		set |= 1 << (c & 63)
	}
	return set
}

// first is the least capability of a set that has one.
func (s capSet) first() (c uint) {
	for !s.has(c) {
		c++
	}
	return c
}
