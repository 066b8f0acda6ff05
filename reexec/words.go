package reexec

import (
	"fmt"
	"strings"
)

// Clause returns the text of err for the middle of a sentence: without the "gonso: " at the
// beginning of sentinels and whole errors.
func Clause(err error) string { return strings.TrimPrefix(err.Error(), "gonso: ") }

// Phrase returns an error that matches err, with a text that fits the sentence in which it stands.
func Phrase(err error, format string, args ...any) error {
	if len(args) > 0 { // otherwise package init may call this
		format = fmt.Sprintf(format, args...)
	}
	return &phrase{format, err}
}

type phrase struct {
	text string
	err  error
}

func (p *phrase) Error() string { return p.text }
func (p *phrase) Unwrap() error { return p.err }

// ctxError is for the end of a worker that was caused by a context.
type ctxError struct{ ctx, died error }

func (e *ctxError) Error() string   { return e.ctx.Error() + ": " + Clause(e.died) }
func (e *ctxError) Unwrap() []error { return []error{e.ctx, e.died} }
