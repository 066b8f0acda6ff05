//go:build linux

// Command progress shows how far a function inside has come, and ends it on Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/gonso/gonso/gonso"
)

// job is the argument of work. The function sends on Done.
type job struct {
	Steps int
	Done  chan<- int
}

var work = gonso.Register("work", func(ctx context.Context, j job) (done int, err error) {
	for ; done < j.Steps; done++ {
		select {
		case <-time.After(20 * time.Millisecond): // a step
			j.Done <- done + 1
		case <-ctx.Done(): // Ctrl-C
			return done, ctx.Err()
		}
	}
	return done, nil
})

func main() {
	gonso.Init()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	done, printed := make(chan int), make(chan struct{})
	go func() {
		defer close(printed)
		for n := range done {
			fmt.Println("step", n)
		}
	}()
	_, err = work.Do(ctx, s, job{Steps: 1000, Done: done})
	close(done) // Do does not
	<-printed
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Println("interrupted")
	case err != nil:
		log.Fatal(err)
	}
}
