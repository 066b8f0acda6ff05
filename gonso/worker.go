package gonso

import (
	"errors"
	"io"
	"os"
	"time"
)

// Worker says how the process in which a Set's registered functions run is to
// be. The zero Worker is what a Set has without [Set.SetWorker].
type Worker struct {
	// Stderr gets what the worker and its functions print, on standard output as
	// well; nil is os.Stderr. It is written to from a goroutine.
	Stderr io.Writer

	// Idle is how long the worker stays without calls; the next one starts another.
	// Zero is 30 seconds; negative is until the Set is closed.
	Idle time.Duration

	// Grace is how long a function may take to return once its context is done,
	// before it is killed along with its worker. Zero is 5 seconds.
	Grace time.Duration

	// KeepIDs leaves the worker the uid and gid of this process. Without it, it
	// becomes uid and gid 0 of the Set's user namespace, if 0 is mapped there and
	// it is not this process's own. Supplementary groups are dropped either way.
	// Capabilities inside are what exec leaves to the uid: all if it is 0 inside,
	// else none (capabilities(7)).
	KeepIDs bool
}

// SetWorker sets how the Set's worker is to be. It is for that Set alone, not for
// a Dup or what is made from it, and comes before anything has run in a process:
// afterwards it is an error.
func (s *Set) SetWorker(w Worker) error {
	if w.Grace < 0 {
		return &Error{Op: "set worker", Err: os.ErrInvalid, Hint: "Grace is negative"}
	}
	c, err := s.acquire("set worker")
	if err != nil {
		return err
	}
	defer c.release()
	return c.setWorker(w)
}

var errHasWorker = errors.New("the Set has a worker already: SetWorker comes before what runs in it")
