package gonso

import "fmt"

// Capabilities are the capability sets of a process, numbers as CAP_* in package unix has them: those
// of the OCI runtime specification, which has names instead. An empty set is empty; what is not in
// Bounding is dropped from there.
//
// They are what the process has when the program is executed. The program has then what execve(2) makes
// of that (capabilities(7)). With another uid than 0 that is Ambient. With uid 0 it is Bounding and
// Inheritable together, whatever Permitted and Effective are; with NoNewPrivs, just what of these is in
// Permitted.
//
// Effective has to be within Permitted, and Ambient within both Permitted and Inheritable, and
// Inheritable within Bounding.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient []uintptr
}

// named lists the sets with their names, in an order in which what one has to be within comes before.
func (c *Capabilities) named() []namedCaps {
	return []namedCaps{{"Bounding", c.Bounding}, {"Permitted", c.Permitted}, {"Inheritable", c.Inheritable}, {"Effective", c.Effective}, {"Ambient", c.Ambient}}
}

type namedCaps struct {
	name string
	caps []uintptr
}

// bad says what is wrong with the sets, "" if nothing is. last is the greatest capability that the
// kernel has, or negative.
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
