package reexec

import (
	"fmt"
	"strings"
)

// Clause is what err says, for the middle of a sentence: without the "gonso: "
// that sentinels and whole errors begin with.
func Clause(err error) string { return strings.TrimPrefix(err.Error(), "gonso: ") }

// Phrase is an error to be tested for in words that fit where it stands.
func Phrase(err error, format string, args ...any) error {
	if len(args) > 0 { // else package init may ask
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

// ctxError is the end of a worker of which a context was the reason.
type ctxError struct{ ctx, died error }

func (e *ctxError) Error() string   { return e.ctx.Error() + ": " + Clause(e.died) }
func (e *ctxError) Unwrap() []error { return []error{e.ctx, e.died} }
