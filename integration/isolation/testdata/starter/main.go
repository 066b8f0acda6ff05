// Starter has a secret on its heap and in its environment, and runs a registered
// function in the namespaces of a container, each time in a new process.
//
// It reads lines of "PID N" and answers each with how many of N starts were
// done, or with an error.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/gonso"
)

type where struct {
	PID, UID int
	Host     string
	Secrets  int // in what the function can see
	Exe      string
}

var look = gonso.Register("look", func(context.Context, struct{}) (where, error) {
	w := where{PID: os.Getpid(), UID: os.Getuid()}
	w.Host, _ = os.Hostname()
	w.Exe, _ = os.Readlink("/proc/self/exe")
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "SECRET=") {
			w.Secrets++
		}
	}
	return w, nil
})

var secret []byte

func main() {
	gonso.Init()
	secret = []byte(strings.Clone(os.Getenv("SECRET"))) // on the heap
	if len(secret) == 0 {
		fail("no secret")
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var pid, n int
		if _, err := fmt.Sscan(in.Text(), &pid, &n); err != nil {
			fail(err)
		}
		for i := range n {
			if err := start(pid); err != nil {
				fail(fmt.Sprintf("start %d: %v", i, err))
			}
		}
		fmt.Println(n)
	}
}

func fail(v any) {
	fmt.Println(v)
	os.Exit(1)
}

func start(pid int) error {
	s, err := gonso.FromPID(pid, gonso.User|gonso.Mount|gonso.Net|gonso.UTS|gonso.IPC)
	if err != nil {
		return err
	}
	defer s.Close()
	w, err := look.Do(context.Background(), s, struct{}{})
	switch {
	case err != nil:
		return err
	case w.PID == os.Getpid() || w.UID != 0 || w.Host != "gonso-isolation" || w.Secrets != 0:
		return fmt.Errorf("it ran elsewhere: %+v", w)
	}
	return nil
}
