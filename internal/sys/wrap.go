package sys

// Wrap returns an error that wraps another one, and has a text before the other's text. It is
// fmt.Errorf("text: %w", err) for errors that package init makes: for its first error, package fmt
// would take longer than init may.
func Wrap(text string, err error) error { return &wrapped{text, err} }

type wrapped struct {
	text string
	err  error
}

func (w *wrapped) Error() string { return w.text + ": " + w.err.Error() }
func (w *wrapped) Unwrap() error { return w.err }
