//go:build linux

// Command refused tells why namespaces cannot be made or entered, and where work would run.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func main() {
	gonso.Init()
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		// The text has the cause, if it was found. Probe tries everything else, too.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		log.Fatalf("%v\n%v", err, gonso.Probe(ctx))
	}
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// A closure cannot run in there. The error says so before it runs, and a Plan says why.
	err = s.Run(func() error { panic("not reached") })
	fmt.Println("refused:", errors.Is(err, gonso.ErrNeedsProcess))
	var e *gonso.Error
	if errors.As(err, &e) {
		fmt.Println("because of:", e.Type)
	}
	plan := s.Plan()
	fmt.Println("closures: ", plan.Closures.Why)
	fmt.Println("functions:", plan.Functions.Backend, plan.Functions.Join)
}
