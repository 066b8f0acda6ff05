package codec

import (
	"context"
	"errors"
	"reflect"
	"time"
)

// Decoding takes time, and nothing can interrupt it. A small value is decoded on the caller's
// goroutine. A large value, or one that must wait for memory, has its own goroutine, which can be
// left behind.

const (
	smallDecoded = 128 << 10 // so little memory is not counted
	quickInput   = 256 << 10 // so few bytes are decoded at once
)

// errBusy says that the memory for decoding is not free yet.
var errBusy = errors.New("busy")

// DecodeWithin is Decode, but ends once ctx has been done for the time grace. Its error then
// matches the error of ctx, and v is unchanged. The goroutine that it leaves behind ends soon.
func (e Value) DecodeWithin(ctx context.Context, grace time.Duration, v any) error {
	if e.budget == nil || ctx.Done() == nil {
		return e.Decode(v)
	}
	if len(e.Bytes) <= quickInput {
		c, err := e.decode(v, func(n int64) (*Charge, error) {
			c, freed := e.budget.try(n)
			if freed != nil {
				return nil, errBusy
			}
			return c, nil
		})
		if err != errBusy {
			e.over(c, err)
			return err
		}
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || reflect.ValueOf(v).IsNil() {
		return e.Decode(v) // its error says what is wrong
	}
	fresh, done, stop := reflect.New(t.Elem()), make(chan error, 1), make(chan struct{})
	var c *Charge
	go func() {
		var err error
		c, err = e.decode(fresh.Interface(), func(n int64) (*Charge, error) { return e.budget.Take(n, stop) })
		done <- err
	}()
	err, ended := waitFor(ctx, grace, done)
	if !ended {
		close(stop)
		go func() {
			late := errors.Join(errStopped, <-done)
			e.over(c, late) // closes the decoded files, too
		}()
		late := &ValueError{Op: "decode", Type: t.Elem().String(), Why: "it takes longer than the call may"}
		return errors.Join(ctx.Err(), late)
	}
	if err == nil {
		reflect.ValueOf(v).Elem().Set(fresh.Elem())
	}
	e.over(c, err) // only now: until here nobody else could release the decoded value
	return err
}

// waitFor waits for done, but only until ctx has been done for grace.
func waitFor(ctx context.Context, grace time.Duration, done <-chan error) (err error, ended bool) {
	select {
	case err := <-done:
		return err, true
	case <-ctx.Done():
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case err := <-done:
		return err, true
	case <-limit.C:
		return nil, false
	}
}
