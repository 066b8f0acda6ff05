package gonso_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

type ctxFacts struct {
	Deadline     bool
	Sec          int64
	Nsec         int
	Over, Waited string
}

// ctxSeen tells what a function sees of its context: at once, and if it is to make a file, at its end.
var ctxSeen = gonso.Register("test.ctxSeen", func(ctx context.Context, ready string) (ctxFacts, error) {
	var s ctxFacts
	text := func() string {
		if ctx.Err() == nil {
			return ""
		}
		return ctx.Err().Error()
	}
	d, ok := ctx.Deadline()
	s.Deadline, s.Sec, s.Nsec, s.Over = ok, d.Unix(), d.Nanosecond(), text()
	if ready != "" {
		if err := os.WriteFile(ready, nil, 0o600); err != nil {
			return s, err
		}
		sub, cancel := context.WithCancel(ctx) // a derived one ends as well
		defer cancel()
		<-sub.Done()
		s.Waited = text()
	}
	return s, nil
})

// backends of a Set that both can serve.
var backends = map[string]gonso.DoOption{"thread": gonso.InThread(), "process": gonso.InProcess()}

// grpc-go#2374: nanoseconds since 1970 end in the year 2262.
func TestDeadlineFarAwayCannotEndTheFunction(t *testing.T) {
	testenv.Need(t, testenv.Process)
	s := new(gonso.Set)
	for name, d := range map[string]time.Time{
		"in an hour":       time.Now().Add(time.Hour),
		"2262":             time.Date(2262, 4, 11, 23, 47, 16, 854775807, time.UTC),
		"2263":             time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC),
		"292 years away":   time.Now().Add(math.MaxInt64),
		"year 9999":        time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		"1<<50 seconds on": time.Unix(1<<50, 0),
	} {
		for backend, in := range backends {
			ctx, cancel := context.WithDeadline(t.Context(), d)
			got, err := ctxSeen.Do(ctx, s, "", in)
			cancel()
			// Of one that is near, the monotonic clock counts, which is read at another moment.
			off := time.Unix(got.Sec, int64(got.Nsec)).Sub(d.Round(0)).Abs()
			wrong := off != 0 && name != "in an hour" || off > time.Second
			if err != nil || got.Over != "" || !got.Deadline || wrong {
				t.Errorf("%s, %s: %+v, %v; want %v", name, backend, got, err, d)
			}
		}
	}
}

// ownContext ends when it is told to, whatever its deadline says.
type ownContext struct {
	context.Context
	deadline time.Time
	err      error
}

func (c *ownContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }
func (c *ownContext) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return c.err
}

// google/tarpc#366: a context may end at another time than its deadline, as where the clock of the system
// has stepped. The function hears of it, and nobody is killed.
func TestContextCannotEndUnnoticed(t *testing.T) {
	testenv.Need(t, testenv.Process)
	s := newSet(t, gonso.User)
	setWorker(t, s, gonso.Worker{Grace: 2 * time.Second})
	pid := call(t, workerPID, s, struct{}{})
	innocent, cancel := context.WithCancel(t.Context())
	errs := waitIn(t, innocent, s, 1)
	for name, deadline := range map[string]time.Time{
		"without a deadline":     {},
		"an hour before it":      time.Now().Add(time.Hour),
		"an hour behind it":      time.Now().Add(-time.Hour),
		"that has just passed":   time.Now(),
		"in the very far future": time.Unix(1<<50, 0),
	} {
		for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
			inner, stop := context.WithCancel(t.Context())
			ctx := &ownContext{inner, deadline, end}
			ready := filepath.Join(t.TempDir(), "ready")
			done := make(chan error, 1)
			var got ctxFacts
			go func() {
				var err error
				got, err = ctxSeen.Do(ctx, s, ready)
				done <- err
			}()
			testenv.Eventually(t, "the function runs", func() bool {
				_, err := os.Stat(ready)
				return err == nil
			})
			stop()
			if err := <-done; err != nil || got.Over != "" || got.Waited != end.Error() || got.Deadline == deadline.IsZero() {
				t.Errorf("%s, %v: %+v, %v", name, end, got, err)
			}
		}
	}
	if again := call(t, workerPID, s, struct{}{}); again != pid {
		t.Errorf("the worker was %d and is %d", pid, again)
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, gonso.ErrWorkerDied) {
		t.Errorf("the innocent call: %v", err)
	}
}
