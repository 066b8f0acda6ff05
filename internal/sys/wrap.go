package sys

// Wrap is an error with a text before that of another, which it wraps: fmt.Errorf("text: %w", err) for errors
// that package init makes. Package fmt would take longer for its first one than init may.
func Wrap(text string, err error) error { return &wrapped{text, err} }

type wrapped struct {
	text string
	err  error
}

func (w *wrapped) Error() string { return w.text + ": " + w.err.Error() }
func (w *wrapped) Unwrap() error { return w.err }
