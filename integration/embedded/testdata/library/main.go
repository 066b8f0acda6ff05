// Package main is a shared library for a program in C.
package main

import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gonso/gonso/gonso"
)

var die = gonso.Register("library.die", func(context.Context, []byte) (struct{}, error) {
	os.Exit(7)
	return struct{}{}, nil
})

var dieSoon = gonso.Register("library.dieSoon", func(context.Context, []byte) (struct{}, error) {
	time.AfterFunc(time.Millisecond, func() { os.Exit(7) })
	return struct{}{}, nil
})

//export GonsoInit
func GonsoInit() { gonso.Init() }

// GonsoRun makes calls of workers that die, before and while something is sent to them.
//
//export GonsoRun
func GonsoRun() C.int {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer s.Close()
	large := make([]byte, 8<<20)
	for range 5 {
		if _, err := die.Do(context.Background(), s, nil); !errors.Is(err, gonso.ErrWorkerDied) {
			fmt.Println("die:", err)
			return 1
		}
		_, err := dieSoon.Do(context.Background(), s, nil)
		if err != nil && !errors.Is(err, gonso.ErrWorkerDied) { // the answer may be late on a busy machine
			fmt.Println("dieSoon:", err)
			return 1
		}
		for err = nil; err == nil; { // until one meets the end
			_, err = dieSoon.Do(context.Background(), s, large)
		}
		if !errors.Is(err, gonso.ErrWorkerDied) {
			fmt.Println("large:", err)
			return 1
		}
	}
	fmt.Println("survived")
	return 0
}

func main() {}
