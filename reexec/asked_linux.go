package reexec

import "github.com/gonso/gonso/internal/launcher"

// asked is an option of the caller's.
type asked struct {
	option string
	limit  *Rlimit
}

// of remembers which option of the caller's a step is for.
func (l *launch) of(option string, s *launcher.Step) *launcher.Step {
	l.asked[s.Index()] = asked{option: option}
	return s
}
