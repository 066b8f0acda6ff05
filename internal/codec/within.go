package codec

import (
	"context"
	"errors"
	"reflect"
	"time"
)

// Decoding takes time, and it cannot be broken off. What is small is decoded where it is asked for;
// for what is not, or has to wait for memory, a goroutine can be left behind.

const (
	smallDecoded = 128 << 10 // memory that is too little to be counted
	quickInput   = 256 << 10 // bytes that are decoded in no time
)

// errBusy says that what decoding takes is not free yet.
var errBusy = errors.New("busy")

// DecodeWithin is Decode that ends, with an error that matches that of ctx, once ctx has been done
// for a time of grace. What it leaves behind then ends soon. v is as it was.
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
		return e.Decode(v) // which says what is wrong
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
			e.over(c, late) // closes what was decoded of the files, too
		}()
		late := &ValueError{Op: "decode", Type: t.Elem().String(), Why: "it takes longer than the call may"}
		return errors.Join(ctx.Err(), late)
	}
	if err == nil {
		reflect.ValueOf(v).Elem().Set(fresh.Elem())
	}
	e.over(c, err) // only now: until here nobody else could drop what was decoded
	return err
}

// waitFor waits for done until ctx has been done for grace.
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
