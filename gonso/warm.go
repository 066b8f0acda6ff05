package gonso

import (
	"context"
	"runtime"
)

// Warm starts the Set's worker process, unless it runs already, and waits for
// it, so that the next call of a registered function in a process pays only a
// round trip. Like any worker it ends when it was idle for a while, and the
// next call, or Warm, starts another.
//
// Errors and privileges are those of [Func.Do] with [InProcess]: where there is
// no process backend the error matches [errors.ErrUnsupported], and where the program
// did not call [Init], [ErrNotInitialized]. When ctx is done before the worker
// is there, Warm returns its error; the worker still comes up, for who asks next.
func (s *Set) Warm(ctx context.Context) error {
	if ctx == nil {
		return invalid("warm", "the context is nil")
	}
	c, err := s.acquire("warm")
	if err != nil {
		return err
	}
	defer c.release()
	defer runtime.KeepAlive(s)
	if d := decide(c.facts(), work{inProcess: true}); d.err != nil {
		return d.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return callError(c.types, c.warm(ctx))
}
