package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Probe finds out what this program may do with namespaces on this machine, and why it may not do
// the rest. It makes a namespace of each type and drops it, because this does no harm. It reads the
// settings that decide about the rest. A check that fails has the error that the same call of gonso
// would return, with its hint.
//
//	fmt.Print(gonso.Probe(ctx))
//
// In a program that has not called [Init], checks that need a worker are [Unknown]. When ctx ends,
// the checks that have not been tried are Unknown. Probe takes some ten milliseconds, and leaves
// nothing behind.
//
// A bug report can begin with it: the program in integration/probe prints it.
func Probe(ctx context.Context) *Report {
	if err := checkContext(ctx, "probe"); err != nil {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(context.Background())
		cancel(err)
	}
	r := &Report{Facts: []Fact{{"system", runtime.GOOS}, {"processor", runtime.GOARCH}, {"Go", runtime.Version()}}}
	r.Facts = append(r.Facts, probeFacts(ctx)...)
	made := func(types Type, opts ...UnshareOption) func() error {
		return func() error { return inNew(types, (*Set).Close, opts...) }
	}
	for _, t := range singles(AllTypes) {
		r.try(ctx, t.String(), made(t))
	}
	for _, t := range singles(AllTypes &^ User) {
		r.try(ctx, t.String()+inUserNamespace, made(User|t))
	}
	r.try(ctx, "closures", func() error {
		return inNew(UTS, func(s *Set) error { return s.Run(func() error { return nil }) })
	})
	r.try(ctx, "worker"+inUserNamespace, func() error {
		return inNew(User, func(s *Set) error { return s.Warm(ctx) })
	})
	r.try(ctx, "subordinate ids", made(User, SubIDs()))
	r.try(ctx, "new /proc"+inUserNamespace, made(User|Mount|PID, MountProc()))
	r.try(ctx, "overlay"+inUserNamespace, func() error { return probeOverlay(ctx) })
	r.try(ctx, "ping sockets", func() error { return probePing(ctx) })
	return r
}

const inUserNamespace = ", in a user namespace"

// inNew calls f with a new Set.
func inNew(types Type, f func(s *Set) error, opts ...UnshareOption) error {
	s, err := Unshare(types, opts...)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

func (r *Report) try(ctx context.Context, what string, f func() error) {
	err := context.Cause(ctx)
	if err == nil {
		err = f()
	}
	c := Check{What: what, Answer: Yes, Err: err}
	switch {
	case err == nil:
	case ctx.Err() != nil, errors.Is(err, ErrNotInitialized), errors.Is(err, context.DeadlineExceeded):
		c.Answer = Unknown
	default:
		c.Answer = No
	}
	if err != nil {
		c.Why = err.Error()
	}
	r.Checks = append(r.Checks, c)
}

// Report has the results of [Probe]. It marshals to JSON.
type Report struct {
	Checks []Check `json:"checks"` // what was tried
	Facts  []Fact  `json:"facts"`  // what was read
}

// Check says whether the program may do something.
type Check struct {
	// What is the name of the check. For a new namespace it is the name of the type, "net", or
	// "net, in a user namespace". The others are "closures", "worker, in a user namespace",
	// "subordinate ids", "new /proc, in a user namespace", "overlay, in a user namespace" and "ping
	// sockets".
	What   string `json:"what"`
	Answer Answer `json:"answer"`
	Why    string `json:"why,omitempty"` // the text of Err
	Err    error  `json:"-"`             // nil for Yes
}

// Fact is a setting that was read, such as a sysctl.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Of returns the check with a name, and false if there is no such check.
func (r *Report) Of(what string) (c Check, ok bool) {
	for _, c := range r.Checks {
		if c.What == what {
			return c, true
		}
	}
	return Check{}, false
}

// String is a table for people, which ends with a newline.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%v\t%s\n", c.What, c.Answer, c.Why)
	}
	fmt.Fprintln(w)
	for _, f := range r.Facts {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Value)
	}
	_ = w.Flush() // of a strings.Builder
	return b.String()
}

// Answer is the result of a [Check]. In JSON it is its text.
type Answer int

// The answers.
const (
	Unknown Answer = iota // it could not be told
	Yes
	No
)

var answers = [...]string{"unknown", "yes", "no"}

// String is "yes", "no" or "unknown".
func (a Answer) String() string {
	if a < 0 || int(a) >= len(answers) {
		return fmt.Sprintf("Answer(%d)", int(a))
	}
	return answers[a]
}

// MarshalText is String for the three answers.
func (a Answer) MarshalText() ([]byte, error) {
	if a < 0 || int(a) >= len(answers) {
		return nil, fmt.Errorf("answer: %v is none: %w", a, os.ErrInvalid)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads the text of MarshalText.
func (a *Answer) UnmarshalText(text []byte) error {
	for i, s := range answers {
		if string(text) == s {
			*a = Answer(i)
			return nil
		}
	}
	return fmt.Errorf("answer: %q is not yes, no or unknown: %w", text, os.ErrInvalid)
}
