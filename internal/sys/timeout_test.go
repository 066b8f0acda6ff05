package sys_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/sys"
)

func TestWithTimeout(t *testing.T) {
	slow := errors.New("slow")
	limit := 20 * time.Millisecond

	t.Run("over, asked", func(t *testing.T) {
		ctx, cancel := sys.WithTimeout(t.Context(), 0, slow)
		defer cancel()
		if err := ctx.Err(); err != context.DeadlineExceeded || context.Cause(ctx) != slow {
			t.Errorf("%v, %v", err, context.Cause(ctx))
		}
	})
	t.Run("over, waited for", func(t *testing.T) {
		ctx, cancel := sys.WithTimeout(t.Context(), limit, slow)
		defer cancel()
		if err := ctx.Err(); err != nil {
			t.Error("too early:", err)
		}
		<-ctx.Done()
		if ctx.Err() != context.DeadlineExceeded || context.Cause(ctx) != slow {
			t.Errorf("%v, %v", ctx.Err(), context.Cause(ctx))
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		for _, waited := range []bool{false, true} {
			ctx, cancel := sys.WithTimeout(t.Context(), time.Hour, slow)
			if waited {
				select {
				case <-ctx.Done():
					t.Error("done at once")
				default:
				}
			}
			cancel()
			cancel()
			if ctx.Err() != context.Canceled {
				t.Errorf("waited %v: %v", waited, ctx.Err())
			}
			<-ctx.Done()
		}
	})
	t.Run("others", func(t *testing.T) {
		ctx, cancel := sys.WithTimeout(t.Context(), limit, slow)
		defer cancel()
		below, stop := context.WithCancel(ctx)
		defer stop()
		done := make(chan struct{})
		context.AfterFunc(below, func() { close(done) })
		<-done
		if context.Cause(below) != slow {
			t.Error(context.Cause(below))
		}
		parent, stopParent := context.WithCancelCause(ctx)
		ctx, cancel = sys.WithTimeout(parent, time.Hour, errors.New("not this"))
		defer cancel()
		stopParent(io.EOF)
		if ctx.Err() == nil || !errors.Is(context.Cause(ctx), io.EOF) && context.Cause(ctx) != slow {
			t.Errorf("below what has ended: %v, %v", ctx.Err(), context.Cause(ctx))
		}
		if end, ok := below.Deadline(); !ok || time.Since(end) > time.Minute {
			t.Errorf("%v %v", end, ok)
		}
	})
}
