package reexec

import (
	"fmt"
	"slices"
	"strings"
)

// DiedError says how a worker has ended although nobody told it to.
type DiedError struct {
	Status string   // as os.ProcessState prints it
	Why    string   // the reason, as far as it was found out, or ""
	Stderr string   // the important parts of its output, control characters escaped
	Cause  error    // why this process ended it, or nil
	Stuck  error    // why it could not be reaped although it was killed, or nil
	Beside []string // the functions of the other calls that it ran, each once

	said said
}

func (e *DiedError) Error() string {
	var b strings.Builder
	b.WriteString(ErrWorkerDied.Error())
	for _, s := range []string{e.Status, e.Why} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	for _, err := range []error{e.Cause, e.Stuck} {
		if err != nil {
			b.WriteString(": " + Clause(err))
		}
	}
	if len(e.Beside) > 0 {
		fmt.Fprintf(&b, "; it ran %s as well", list(e.Beside, 8))
	}
	switch s := strings.TrimSpace(e.Stderr); {
	case e.crashed() && e.said.shown: // the trace was shown already
		b.WriteString("; it crashed:\n" + e.said.crash)
		if e.said.where != "" {
			b.WriteString("\nin " + e.said.where)
		}
		b.WriteString("\n(all that it printed is on standard error)")
	case s != "":
		b.WriteString("; it printed last:\n" + s)
	}
	return b.String()
}

// crashed reports whether the Go runtime ended the worker, and said why.
func (e *DiedError) crashed() bool {
	return e.said.crash != "" && (e.Status == "exit status 2" || strings.HasPrefix(e.Status, "signal: aborted"))
}

// Is makes every DiedError match ErrWorkerDied.
func (e *DiedError) Is(target error) bool { return target == ErrWorkerDied }

func (e *DiedError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Cause, e.Stuck} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// list is a text with some of names, of which there is at least one.
func list(names []string, most int) string {
	names = slices.Clone(names)
	if over := len(names) - most; over > 0 {
		names = append(names[:most], fmt.Sprintf("%d others", over))
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
