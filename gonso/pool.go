package gonso

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gonso/gonso/reexec"
)

// Pool makes Sets in advance, so that a caller does not wait for new namespaces and for the start
// of a worker. It gives Sets and takes none back: work in a Set may have changed it in ways that
// cannot be found.
//
// The caller's function makes the Sets, one in each call. It also prepares them: it may set up a
// network, or start the worker:
//
//	pool, err := gonso.NewPool(func(ctx context.Context) (*gonso.Set, error) {
//		s, err := gonso.Unshare(gonso.User | gonso.Net)
//		if err != nil {
//			return nil, err
//		}
//		return s, s.Warm(ctx)
//	}, gonso.PoolOptions{})
//
// A worker in the Pool ends when it is idle for a while, like any other. The newest Set is given
// first, because its worker is most likely to run still.
//
// While the making of Sets fails, the Pool pauses before it makes the next one, from 0.1 s to 10 s,
// each time twice as long. A Get does not wait for the end of a pause: it starts a try at once. So
// the error that it returns is never an old one.
//
// The caller of NewPool has to close the Pool: a forgotten Pool keeps its Sets. Its methods are
// safe for concurrent use.
type Pool struct {
	newSet func(context.Context) (*Set, error)
	opts   PoolOptions
	ctx    context.Context // of newSet; done when the Pool is closed
	cancel context.CancelFunc
	calls  sync.WaitGroup // calls of newSet that Close waits for
	done   chan struct{}  // closed when Close is over

	mu      sync.Mutex
	closed  bool
	ready   []*Set
	waiting list.List // of chan answer, the longest wait first; empty while a Set is ready
	live    int       // calls of newSet in their time
	hung    int       // calls of newSet that were given up and have not returned
	made    uint64
	failed  uint64
	given   uint64

	lastErr error         // of the call of newSet that ended last
	pause   time.Duration // the last one, 0 while making Sets does not fail
	retry   *time.Timer   // the end of one, or nil
}

// PoolOptions are how a [Pool] works. The zero value is usable.
type PoolOptions struct {
	// Size is the number of Sets that are kept ready. Zero means 4. There can be more for a while,
	// if Gets were cancelled while Sets were being made for them.
	Size int
	// Parallel is the number of Sets that are made at once. Zero means GOMAXPROCS, but at most 8.
	Parallel int
	// Timeout is the time that the making of one Set may take. Zero means 30 s. After that the
	// function's context ends, and another Set is made in its place.
	Timeout time.Duration
}

func (o *PoolOptions) setDefaults() error {
	for _, n := range []struct {
		name string
		n    int64
		is   any
	}{{"Size", int64(o.Size), o.Size}, {"Parallel", int64(o.Parallel), o.Parallel}, {"Timeout", int64(o.Timeout), o.Timeout}} {
		if n.n < 0 {
			return fmt.Errorf("%s: %v is negative: %w", n.name, n.is, os.ErrInvalid)
		}
	}
	if o.Size == 0 {
		o.Size = 4
	}
	if o.Parallel == 0 {
		o.Parallel = min(runtime.GOMAXPROCS(0), 8)
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	return nil
}

// PoolStats has counts of a [Pool].
type PoolStats struct {
	Ready    int // Sets that can be had without waiting
	Creating int // calls of the function under way, without those of Hung
	Hung     int // calls of the function that went on beyond Timeout and have not returned
	Waiting  int // Gets that wait

	Made   uint64 // Sets that came into the Pool
	Failed uint64 // calls of the function that ended without a Set, or were not over in time
	Given  uint64 // Sets that Get gave

	// Err is the error of the call of the function that ended last, or nil.
	Err error
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second

	// At most hungFactor times Parallel calls of newSet run at once. Calls that were given up
	// count, too.
	hungFactor = 4

	// poolGrace is how long Close waits for calls of newSet.
	poolGrace = 5 * time.Second
)

// answer is the answer for a Get that waits.
type answer struct {
	s   *Set
	err error
}

// NewPool returns a Pool, and begins to make its Sets with newSet in the background.
//
// Goroutines of the Pool call newSet, several at once. Each call returns a new Set, which belongs
// to the Pool until Get gives it away. The context of a call ends after PoolOptions.Timeout, when
// the Pool is closed, and when the call has returned. A Set that comes with an error is closed. A
// panic is an error for the Pool, a [*PanicError], and runtime.Goexit is [ErrGoexit].
//
// If a call ignores the end of its context, the Pool gives it up, and closes the Set that it may
// still return. Other calls go on meanwhile. The Pool stops making Sets when four times
// PoolOptions.Parallel calls have not returned.
//
// NewPool fails only if newSet is nil or an option is negative. It needs the privileges of newSet.
func NewPool(newSet func(ctx context.Context) (*Set, error), opts PoolOptions) (*Pool, error) {
	if newSet == nil {
		return nil, invalid("make pool", "the function is nil")
	}
	if err := opts.setDefaults(); err != nil {
		return nil, newError("make pool", 0, "", err)
	}
	p := &Pool{newSet: newSet, opts: opts, done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	p.fill()
	p.mu.Unlock()
	return p, nil
}

// Get returns a Set that was made in advance. The caller owns it from then on, and closes it. If no
// Set is ready, Get waits for the next one, after the Gets that have waited longer. When ctx ends,
// Get returns its error, and the Set stays in the Pool, or goes to the next Get.
//
// An error of the function goes to the Get that has waited longest. If the call before failed, too,
// the error goes to all Gets that wait. So no Get waits forever for a function that always fails.
// If a call was not over in time, the error matches [context.DeadlineExceeded]. After Close the
// error matches [ErrClosed].
func (p *Pool) Get(ctx context.Context) (*Set, error) {
	if err := checkContext(ctx, "get from pool"); err != nil {
		return nil, err
	}
	if p == nil || p.newSet == nil {
		return nil, invalid("get from pool", "the Pool is not from NewPool")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	if last := len(p.ready) - 1; last >= 0 {
		s := p.ready[last]
		p.ready[last] = nil
		p.ready = p.ready[:last]
		p.given++
		p.fill()
		p.mu.Unlock()
		return s, nil
	}
	w := make(chan answer, 1)
	place := p.waiting.PushBack(w)
	p.fill()
	p.mu.Unlock()

	select {
	case a := <-w:
		return a.s, a.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case a := <-w: // it has come just now, belongs to this caller, and nobody else would close it
		return a.s, a.err
	default:
		p.waiting.Remove(place)
		return nil, ctx.Err()
	}
}

// Stats returns the counts of the Pool.
func (p *Pool) Stats() PoolStats {
	if p == nil {
		return PoolStats{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{
		Ready: len(p.ready), Creating: p.live, Hung: p.hung, Waiting: p.waiting.Len(),
		Made: p.made, Failed: p.failed, Given: p.given, Err: p.lastErr,
	}
}

// Close ends every Get that waits, with an error that matches [ErrClosed]. It cancels the calls of
// the function that are under way, and closes all Sets in the Pool, and Sets that come later. Sets
// that Get has given stay open. Close can be called more than once, and always returns nil.
//
// Close returns when all of this is done. It waits at most 5 s for calls of the function. It does
// not wait for calls that the Pool has given up: they go on in their goroutines.
func (p *Pool) Close() error {
	if p == nil || p.newSet == nil {
		return nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return nil
	}
	p.closed = true
	sets := p.ready
	p.ready = nil
	p.answerAll(errPoolClosed)
	p.stopRetry()
	p.mu.Unlock()
	defer close(p.done)
	p.cancel()

	var wg sync.WaitGroup
	for _, s := range sets {
		wg.Go(func() { s.Close() }) // may take a while, if something runs in it
	}
	wg.Wait()
	quiet := make(chan struct{})
	go func() {
		p.calls.Wait()
		close(quiet)
	}()
	limit := time.NewTimer(poolGrace)
	defer limit.Stop()
	select {
	case <-quiet:
	case <-limit.C:
	}
	return nil
}

// The methods below are called with p.mu held, unless they say otherwise.

// fill starts the calls of newSet that are needed and allowed. Every change of that number calls
// fill afterwards.
func (p *Pool) fill() {
	if p.closed {
		return
	}
	wanted := p.waiting.Len()
	if missing := p.opts.Size - len(p.ready); missing > 0 {
		if p.lastErr != nil {
			p.pauseFirst()
		} else {
			wanted += missing
		}
	}
	for p.live < wanted && p.start() {
	}
	if p.live == 0 && p.waiting.Len() > 0 {
		p.answerAll(getError(fmt.Errorf("no Set is made while %d calls of the Pool's function have not returned after %v: %w",
			p.hung, p.opts.Timeout, context.DeadlineExceeded)))
	}
}

// pauseFirst has one Set made ahead after a pause.
func (p *Pool) pauseFirst() {
	if p.retry != nil {
		return
	}
	p.pause = min(max(2*p.pause, firstPause), lastPause)
	var t *time.Timer
	t = time.AfterFunc(p.pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.retry != t {
			return
		}
		p.retry = nil
		// If there is no room, fill runs again when a call ends.
		if len(p.ready) < p.opts.Size {
			p.start()
		}
	})
	p.retry = t
}

func (p *Pool) stopRetry() {
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
}

// creation is a call of newSet. Its fields belong to p.mu.
type creation struct {
	ended   bool // newSet has returned
	givenUp bool // its time was over before that
}

// start calls newSet in a goroutine, if there is room for another call.
func (p *Pool) start() bool {
	if p.live >= p.opts.Parallel || p.live+p.hung >= hungFactor*p.opts.Parallel {
		return false
	}
	p.live++
	p.calls.Add(1)
	go p.run(&creation{})
	return true
}

// run is without the lock.
func (p *Pool) run(c *creation) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.giveUp(c) })
	var s *Set
	err := ErrGoexit // if newSet does not return
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		stop()
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = p.tooSlow(err)
		}
		s, err = judge(s, err)
		p.end(c, s, err)
	}()
	s, err = p.newSet(ctx)
}

// judge checks the results of newSet, without the lock.
func judge(s *Set, err error) (*Set, error) {
	switch {
	case s != nil && err != nil:
		s.Close()
		return nil, err
	case err != nil:
		return nil, err
	case s == nil:
		return nil, getError(errNoSet)
	}
	c, err := s.acquire("")
	switch {
	case err == nil:
		c.release()
	case errors.Is(err, ErrClosed):
		return nil, getError(errClosedSet)
	}
	return s, nil
}

var (
	errNoSet     = errors.New("the Pool's function returned neither a Set nor an error")
	errClosedSet = errors.New("the Pool's function returned a Set that was closed already")
)

// giveUp is called without the lock, when the context of c is done.
func (p *Pool) giveUp(c *creation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.ended || p.closed {
		return
	}
	c.givenUp = true
	p.live--
	p.hung++
	p.calls.Done()
	p.fail(p.tooSlow(nil))
	p.fill()
}

func (p *Pool) tooSlow(err error) error {
	late := fmt.Errorf("the Pool's function had not made a Set within %v: %w", p.opts.Timeout, context.DeadlineExceeded)
	if err != nil && err != context.DeadlineExceeded {
		late = fmt.Errorf("%w: %w", late, err)
	}
	return getError(late)
}

// end takes the results of newSet, without the lock.
func (p *Pool) end(c *creation, s *Set, err error) {
	p.mu.Lock()
	c.ended = true
	if c.givenUp {
		p.hung--
	} else {
		p.live--
		defer p.calls.Done() // after a Set that nobody wants was closed
	}
	switch {
	case c.givenUp || p.closed:
		if s != nil {
			defer s.Close()
		}
	case err != nil:
		p.fail(err)
	default:
		p.add(s)
	}
	p.fill()
	p.mu.Unlock()
}

// add gives a new Set to the Get that has waited longest, or keeps it.
func (p *Pool) add(s *Set) {
	p.made++
	p.lastErr, p.pause = nil, 0
	p.stopRetry()
	if first := p.waiting.Front(); first != nil {
		p.given++
		p.answer(first, answer{s: s})
		return
	}
	p.ready = append(p.ready, s)
}

// fail reports a failure of newSet. One failure may be chance. After two of them nobody waits for a
// third.
func (p *Pool) fail(err error) {
	p.failed++
	if p.lastErr != nil {
		p.answerAll(err)
	} else if first := p.waiting.Front(); first != nil {
		p.answer(first, answer{err: err})
	}
	p.lastErr = err
}

func (p *Pool) answer(place *list.Element, a answer) {
	p.waiting.Remove(place).(chan answer) <- a // has room for one, and gets one
}

func (p *Pool) answerAll(err error) {
	for first := p.waiting.Front(); first != nil; first = p.waiting.Front() {
		p.answer(first, answer{err: err})
	}
}

func getError(err error) *Error { return newError("get from pool", 0, "", err) }

var errPoolClosed = getError(reexec.Phrase(ErrClosed, "the Pool is closed"))
