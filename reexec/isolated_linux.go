package reexec

import (
	"context"

	"github.com/gonso/gonso/internal/wire"
)

// DoIsolated is Do in a process of its own, which ends with the call and is gone when it returns.
// Close ends it too. It is not held back by failures of others.
func (w *Worker) DoIsolated(ctx context.Context, req wire.Request) (*wire.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := w.getIsolated(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		p.leave() // the last call of a process that takes no more
		<-p.ended
	}()
	return p.call(ctx, req)
}

// getIsolated starts a process, with the one call counted on it that it takes.
func (w *Worker) getIsolated(ctx context.Context) (*process, error) {
	s := &startup{done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrWorkerClosed
	}
	w.isolated[s] = struct{}{}
	w.mu.Unlock()
	go w.startIsolated(s)
	select {
	case <-s.done:
		return s.p, s.err
	case <-ctx.Done():
		go func() { // nobody wants it any more
			<-s.done
			if s.p != nil {
				s.p.leave()
			}
		}()
		return nil, ctx.Err()
	}
}

func (w *Worker) startIsolated(s *startup) {
	p, err := w.launch()
	w.mu.Lock()
	if err == nil {
		p.entered, p.retired = 1, true // nobody else knows it yet
		w.all[p] = struct{}{}
		go p.watch()
	}
	switch {
	case err == nil && w.closed:
		s.err = ErrWorkerClosed
	case err == nil:
		s.p = p
	default:
		s.err = err
	}
	delete(w.isolated, s)
	w.mu.Unlock()
	if s.err != nil && p != nil {
		p.leave()
	}
	close(s.done)
}
