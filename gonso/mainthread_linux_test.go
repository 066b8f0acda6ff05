package gonso

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("main goroutine moves", mainGoroutineMoves) }

// mainGoroutineMoves is a program whose main goroutine is on another thread when it calls Init, as
// after a garbage collection or a long system call. The worker has the same program.
func mainGoroutineMoves() {
	runtime.UnlockOSThread()
	moved, off := make(chan struct{}), make(chan struct{})
	go takeMainThread(func() { close(off); <-moved })
	<-off
	if unix.Gettid() == os.Getpid() {
		fmt.Println("the main goroutine is on the main thread")
		os.Exit(1)
	}
	close(moved)
	Init()
	s := new(Set)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			thread, err := threadInside.Do(context.Background(), s, struct{}{}, InProcess(), EndThread())
			switch {
			case err != nil:
				fmt.Println(err)
			case thread[0] == os.Getpid():
				fmt.Println("not in a worker")
			case thread[0] == thread[1]:
				fmt.Println("the work, which ends its thread, was on the main thread of its process")
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("done")
}

// The main thread of a worker cannot end, and /proc/PID shows it. A function that may leave its
// thread anywhere must run on another one, whatever thread called Init.
func TestMainThreadOfAWorkerIsNotGivenToFunctions(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for range testenv.Times(10, 3) {
		out, err := testenv.Command(t, "main goroutine moves").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "done" {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
