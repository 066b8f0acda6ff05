package reexec

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// What is said of a worker that did not come up reads as one sentence, and says
// whose it is once.
func TestStartErrorsBeginWithGonsoOnce(t *testing.T) {
	for name, c := range map[string]struct {
		alive, timedOut bool
		err             error
		other           bool // ErrNotInitialized does not match
		words           string
	}{
		"ends":     {true, false, io.EOF, false, "the program did not call gonso.Init() first in main (or TestMain): its main ended without"},
		"blocks":   {true, true, os.ErrDeadlineExceeded, false, "it did not come to Init within 1s, so probably the program did not call gonso.Init() first in main"},
		"silent":   {false, false, io.EOF, true, "it ended before it ran any Go code of package gonso"},
		"too slow": {false, true, os.ErrDeadlineExceeded, true, "it did not start within 1s"},
		"strange":  {true, false, io.ErrUnexpectedEOF, true, "unexpected EOF"},
	} {
		died := &DiedError{Status: "exit status 1"}
		err := comeUpError(c.alive, c.timedOut, time.Second, c.err, died)
		check := func(name string, err error, is bool) {
			t.Helper()
			if text := err.Error(); strings.Count(text, "gonso: ") != 1 || !strings.HasPrefix(text, "gonso: worker died: exit status 1: ") || !strings.Contains(text, c.words) {
				t.Errorf("%s: %s", name, text)
			}
			if errors.Is(err, ErrNotInitialized) != is || !errors.Is(err, ErrWorkerDied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		check(name, err, !c.other)
		died.Cause = helperError("/bin/true", c.alive, died.Cause)
		check(name+" as helper", err, !c.other || !c.alive)
	}
	w := NewWorker(WorkerOptions{})
	defer w.Close()
	w.backoff.fail(time.Now(), &DiedError{Status: "exit status 2"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.gaveUp(ctx); !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), "the last one: worker died: exit status 2") {
		t.Error(err)
	}
}
