package main

import (
	"context"
	"errors"
	"time"

	"github.com/gonso/gonso/gonso"
)

// poolTypes are what a builder runs a step in.
const poolTypes = gonso.User | gonso.Mount | gonso.Net

// warmSet makes a Set on the spot, with a worker that runs.
func warmSet(ctx context.Context) (*gonso.Set, error) {
	s, err := gonso.Unshare(poolTypes)
	if err != nil {
		return nil, err
	}
	return s, s.Warm(ctx)
}

// each times f for n Sets of get, each closed off the clock, and has before run
// off the clock too.
func each(n int, before func() error, get func() (*gonso.Set, error), f func(*gonso.Set) error) (took time.Duration, err error) {
	for range n {
		if err := before(); err != nil {
			return 0, err
		}
		start := time.Now()
		s, err := get()
		if err == nil {
			err = f(s)
		}
		took += time.Since(start)
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

func poolGet() (_ *race, err error) {
	r := &race{limit: -100}
	defer r.abandon(&err)
	if _, err := r.made(poolTypes); err != nil {
		return nil, err
	}
	ctx := context.Background()
	const size = 4
	pool, err := gonso.NewPool(warmSet, gonso.PoolOptions{Size: size})
	if err != nil {
		return nil, err
	}
	r.close = append(r.close, pool.Close)
	full := func() error {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
			if s := pool.Stats(); s.Ready >= size && s.Creating == 0 {
				return nil
			}
		}
		return errors.Join(errors.New("the pool did not fill"), pool.Stats().Err)
	}
	// The race adjusts n to the time that is taken, and here more is taken off the
	// clock: so many are done, and stand for n.
	const most = 2
	atMost := func(run func(int) (time.Duration, error)) func(int) (time.Duration, error) {
		return func(n int) (time.Duration, error) {
			done := min(n, most)
			took, err := run(done)
			return took * time.Duration(n) / time.Duration(done), err
		}
	}
	nothing := func() error { return nil }
	onTheSpot := func() (*gonso.Set, error) { return warmSet(ctx) }
	cold := func() (*gonso.Set, error) { return gonso.Unshare(poolTypes) }
	get := func() (*gonso.Set, error) { return pool.Get(ctx) }
	noCall := func(*gonso.Set) error { return nil }
	r.ways = []way{
		{"Unshare and Warm", atMost(func(n int) (time.Duration, error) { return each(n, nothing, onTheSpot, noCall) })},
		{"gonso", atMost(func(n int) (time.Duration, error) { return each(n, full, get, noCall) })},
		{"Pool.Get and a call", atMost(func(n int) (time.Duration, error) { return each(n, full, get, call) })},
		{"Unshare and a call", atMost(func(n int) (time.Duration, error) { return each(n, nothing, cold, call) })},
	}
	return r, nil
}
