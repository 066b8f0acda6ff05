package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
)

// A channel in an argument is two channels, the caller's and the function's. Each has a pump. One
// pump takes values from its channel and sends them. The other one receives them and puts them into
// its channel. The receiver gives credit for as many values as it has room for. The sender takes a
// value from its channel only if it has credit. Each pump can end the other one by closing its ends
// of the pipes.

const (
	// sendAhead is how many values a function may send before the caller's channel takes them.
	sendAhead = 16
	// takeAhead is how many values are taken from the caller's channel before the function receives
	// them. It is one, because a value that the function does not receive is lost.
	takeAhead = 1
)

// pump moves the values of a channel, on one of the two sides.
type pump struct {
	path  string        // of the field
	ch    reflect.Value // the caller's channel, or the function's
	sends bool          // it takes values from ch, and sends them to the other pump
	ours  *codec.Ends
	stop  chan struct{} // closed when the function has returned, or the caller's time is up
	done  chan struct{} // closed when the goroutine has ended
	err   error         // valid once done is closed

	function bool         // ch is the function's
	items    *codec.Items // bounds the memory of values from a worker

	once sync.Once
	late lateReader
	cut  bool // see callerChannels.cutOff
}

func newPump(path string, ch reflect.Value, sends bool, ours *codec.Ends) *pump {
	p := &pump{path: path, ch: ch, sends: sends, ours: ours, stop: make(chan struct{}), done: make(chan struct{})}
	p.late.f = ours.Values
	return p
}

func (p *pump) run() {
	defer close(p.done)
	defer p.close()
	if p.sends {
		p.err = p.send()
	} else {
		p.err = p.receive()
	}
	if p.sends && p.function {
		p.close() // so that the caller learns that there are no more values
		p.discard()
	}
}

func (p *pump) close() {
	p.ours.Values.Close()
	p.ours.Credit.Close()
}

// halt closes stop.
func (p *pump) halt() { p.once.Do(func() { close(p.stop) }) }

func (p *pump) halted() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// send ends when ch is closed, or when nobody receives any more.
func (p *pump) send() error {
	var credit int
	var item []byte
	for {
		if credit == 0 {
			if credit = p.awaitCredit(); credit == 0 {
				return nil
			}
		}
		v, ok := p.take()
		if !ok {
			return nil
		}
		credit--
		held := reflect.New(p.ch.Type().Elem())
		held.Elem().Set(v)
		var err error
		if item, err = codec.AppendItem(item[:0], held.Interface()); err != nil {
			return err
		}
		if _, err := p.ours.Values.Write(item); err != nil {
			return nil // nobody receives any more: this is no failure of the sender
		}
		if cap(item) > copySize {
			item = nil
		}
	}
}

// awaitCredit gives 0 if no more credit will come.
func (p *pump) awaitCredit() (n int) {
	var buf [sendAhead]byte
	got, err := p.ours.Credit.Read(buf[:])
	if err != nil || p.halted() {
		return 0
	}
	for _, b := range buf[:got] {
		n += int(b)
	}
	return n
}

// take gives the next value of ch.
func (p *pump) take() (v reflect.Value, ok bool) {
	if p.halted() {
		return v, false
	}
	chosen, v, ok := reflect.Select([]reflect.SelectCase{
		{Dir: reflect.SelectRecv, Chan: p.ch},
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(p.stop)},
	})
	return v, ok && chosen == 0
}

// discard receives and drops the rest of the function's values, so that the function does not hang.
func (p *pump) discard() {
	for {
		if _, ok := p.take(); !ok {
			<-p.stop
			return
		}
	}
}

// receive ends when the sender has ended, or when there is no receiver any more.
func (p *pump) receive() error {
	ahead, give := byte(sendAhead), byte(sendAhead/2)
	if p.function {
		defer p.ch.Close()
		ahead, give = takeAhead, takeAhead
	}
	credit := func(n byte) bool {
		_, err := p.ours.Credit.Write([]byte{n})
		return err == nil
	}
	if !credit(ahead) {
		return nil
	}
	elem := p.ch.Type().Elem()
	r := codec.NewItemReader(&p.late, elem, p.items)
	for used, late := byte(0), 0; ; {
		v := reflect.New(elem)
		held, err := r.Next(v.Interface(), p.stop)
		if err == io.EOF || p.halted() {
			held.Release()
			return nil
		}
		if err != nil {
			return err
		}
		if p.late.isLate() {
			if late++; late > sendAhead {
				held.Release()
				return errSendsOn
			}
		}
		sent, err := p.put(v.Elem())
		held.Release()
		if !sent {
			return err
		}
		if used++; used == give {
			used = 0
			credit(give) // if this fails, values that were sent already still come
		}
	}
}

// put waits until ch has taken v.
func (p *pump) put(v reflect.Value) (sent bool, err error) {
	defer func() {
		if recover() != nil {
			err = errChannelClosed
		}
	}()
	chosen, _, _ := reflect.Select([]reflect.SelectCase{
		{Dir: reflect.SelectSend, Chan: p.ch, Send: v},
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(p.stop)},
	})
	return chosen == 0, nil
}

// errChannelClosed is the error if the caller closes a channel that Do sends on.
var errChannelClosed = sys.Wrap("it was closed before Do had returned", os.ErrInvalid)

// errSendsOn is for a hostile worker: gonso's own code in a worker does not do this.
var errSendsOn = errors.New("the worker goes on sending values of a function that has returned")

// lateReader reads from a worker. Once the function has returned, all of its data should be in the
// pipe, so lateReader then waits only for a limited time.
type lateReader struct {
	f *os.File

	mu   sync.Mutex
	from time.Time     // when the present wait began; zero before the function returned
	left time.Duration // for all waits together
}

// returned says that the function has returned.
func (r *lateReader) returned(patience time.Duration) {
	r.mu.Lock()
	r.from, r.left = time.Now(), patience
	r.f.SetReadDeadline(r.from.Add(patience))
	r.mu.Unlock()
}

func (r *lateReader) isLate() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.from.IsZero()
}

func (r *lateReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	if !r.from.IsZero() {
		r.from = time.Now()
		r.f.SetReadDeadline(r.from.Add(max(r.left, 0)))
	}
	r.mu.Unlock()
	n, err := r.f.Read(b)
	r.mu.Lock()
	if !r.from.IsZero() {
		r.left -= time.Since(r.from)
	}
	r.mu.Unlock()
	return n, err
}

// failed says which channel an error is about, and on which side.
func (p *pump) failed(err error) error {
	op := "drain channel"
	switch {
	case p.function && p.sends:
		op = "send on channel"
	case p.function:
		op = "receive from channel"
	case p.sends:
		op = "feed channel"
	}
	e := newError(op, 0, p.path, err)
	if errors.Is(err, os.ErrDeadlineExceeded) && !p.cut {
		e.Hint = "the function has returned, but its process keeps the channel open and says nothing"
	}
	return e
}

// callerChannels are the channels of one call's argument, on the caller's side.
type callerChannels struct {
	pumps  []*pump
	theirs []*codec.Ends // the function's, until they were sent
	items  *codec.Items
	grace  time.Duration

	stop func() bool   // stops the watching of ctx
	cut  chan struct{} // closed by cutOff

	mu    sync.Mutex
	timer *time.Timer // of cutOff, once ctx is done
	over  bool        // it is too late for cutOff
}

// connect makes the pipes of a channel.
func (cs *callerChannels) connect(path string, ch reflect.Value) (*codec.Ends, error) {
	valuesOut, valuesIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	creditOut, creditIn, err := os.Pipe()
	if err != nil {
		valuesOut.Close()
		valuesIn.Close()
		return nil, err
	}
	receiver, sender := &codec.Ends{Values: valuesOut, Credit: creditIn}, &codec.Ends{Values: valuesIn, Credit: creditOut}
	ours, theirs := receiver, sender
	sends := ch.Type().ChanDir() == reflect.RecvDir // what the function receives
	if sends {
		ours, theirs = sender, receiver
	}
	p := newPump(path, ch, sends, ours)
	p.items = cs.items
	cs.pumps, cs.theirs = append(cs.pumps, p), append(cs.theirs, theirs)
	return theirs, nil
}

func (cs *callerChannels) closeTheirs() {
	for _, e := range cs.theirs {
		e.Values.Close()
		e.Credit.Close()
	}
}

// abandon closes the pipes of a call that is not made.
func (cs *callerChannels) abandon() {
	cs.closeTheirs()
	for _, p := range cs.pumps {
		p.close()
	}
}

// start is called when the call has duplicates of its ends.
func (cs *callerChannels) start(ctx context.Context) {
	if len(cs.pumps) == 0 {
		return
	}
	cs.closeTheirs()
	cs.cut = make(chan struct{})
	for _, p := range cs.pumps {
		go p.run()
	}
	cs.stop = context.AfterFunc(ctx, func() {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		if !cs.over {
			cs.timer = time.AfterFunc(cs.grace/2, cs.cutOff)
		}
	})
}

// cutOff ends all channels, half of the grace period after ctx is done. A function that waits for a
// channel, and not for its context, has the other half to return.
func (cs *callerChannels) cutOff() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.over {
		return
	}
	cs.over = true
	for _, p := range cs.pumps {
		select {
		case <-p.done:
		default:
			p.cut = true
			p.halt()
			p.close()
		}
	}
	close(cs.cut)
}

// finish is called when the call is over and its ends are closed. It waits until the caller's
// channels have all values that were sent, and returns the errors of sending. called is the call's
// own error.
func (cs *callerChannels) finish(ctx context.Context, called error) error {
	if len(cs.pumps) == 0 {
		return nil
	}
	for _, p := range cs.pumps {
		if p.sends { // the rest stays in the caller's channel
			p.halt()
			p.close()
		} else {
			p.ours.Credit.Close() // so that a worker that does not read credit cannot block the pump
			p.late.returned(cs.grace)
		}
	}
	ended := cs.await(ctx)
	cs.stop()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.over = true
	if cs.timer != nil {
		cs.timer.Stop()
	}
	var errs []error
	for i, p := range cs.pumps {
		switch {
		case p.cut || !ended[i]:
			if !errors.Is(called, ctx.Err()) {
				errs = append(errs, p.failed(ctxError(ctx)))
			}
		case p.err != nil && (called == nil || !errors.Is(p.err, io.ErrUnexpectedEOF)):
			errs = append(errs, p.failed(p.err))
		}
	}
	return errors.Join(errs...)
}

// await waits for the pumps to end. It cuts them off if ctx is done. It reports which pumps have
// ended, because a pump may hang in a method of the caller's type.
func (cs *callerChannels) await(ctx context.Context) []bool {
	ended := make([]bool, len(cs.pumps))
	var limit <-chan time.Time
	done := ctx.Done()
	for i := 0; i < len(cs.pumps); {
		select {
		case <-cs.pumps[i].done:
			ended[i] = true
			i++
			continue
		case <-done:
			done, limit = nil, time.After(readerPatience)
			continue
		case <-cs.cut:
		case <-limit:
			cs.cutOff()
		}
		for ; i < len(cs.pumps); i++ {
			select {
			case <-cs.pumps[i].done:
				ended[i] = true
			case <-time.After(readerPatience):
			}
		}
	}
	return ended
}

// ctxError is why ctx is done.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// functionChannels are the channels of one call's argument, on the function's side.
type functionChannels struct{ pumps []*pump }

// attach makes the function's channel for one of type t.
func (fc *functionChannels) attach(path string, t reflect.Type, ends *codec.Ends) reflect.Value {
	ch := reflect.MakeChan(reflect.ChanOf(reflect.BothDir, t.Elem()), 0)
	p := newPump(path, ch, t.ChanDir() == reflect.SendDir, ends)
	p.function = true
	fc.pumps = append(fc.pumps, p)
	return ch
}

func (fc *functionChannels) start() {
	for _, p := range fc.pumps {
		go p.run()
	}
}

// finish is called when the function has returned. It waits until all values that the function sent
// are on their way, and returns the errors of sending.
func (fc *functionChannels) finish() error {
	for _, p := range fc.pumps {
		p.halt()
		p.ours.Credit.Close()
		if !p.sends {
			p.ours.Values.Close()
		}
	}
	var errs []error
	for _, p := range fc.pumps {
		<-p.done
		if p.err != nil {
			errs = append(errs, p.failed(p.err))
		}
	}
	fc.pumps = nil
	return errors.Join(errs...)
}
