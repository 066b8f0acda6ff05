package wire

import (
	"errors"
	"os"
	"testing"
	"time"
)

// Nobody looks but where frames came close together, nor for longer than the budget.
func TestSpinnerLooksOnlyWhereFramesCameTogether(t *testing.T) {
	s := spinner{budget: time.Hour}
	looks := 0
	look := func(finds int) func() bool {
		return func() bool {
			looks++
			return looks == finds
		}
	}
	if s.came(); s.until(look(1)) || looks != 0 {
		t.Errorf("after one frame: %d looks", looks)
	}
	s.last = time.Now().Add(time.Hour) // whatever this machine is busy with
	if s.came(); !s.hot || !s.until(look(3)) || looks != 3 || !s.hot {
		t.Errorf("after two: %d looks, hot %v", looks, s.hot)
	}
	looks, s.budget = 0, 20*time.Millisecond
	if begin := time.Now(); s.until(look(0)) || looks == 0 || s.hot || time.Since(begin) < s.budget {
		t.Errorf("in vain: %d looks, hot %v, after %v", looks, s.hot, time.Since(begin))
	}
	s.last = time.Now().Add(-together)
	if s.came(); s.hot {
		t.Error("hot after a while without frames")
	}
	if none := (&spinner{hot: true}); none.until(look(1)) {
		t.Error("without a budget")
	}
}

// What spins gets all frames, and its deadlines.
func TestSpinningConn(t *testing.T) {
	noLeak(t)
	ours, theirs := pair(t)
	for _, c := range []*Conn{ours, theirs} {
		c.SetSpin(time.Hour)
		if b := c.readOp.spin.budget; b != 0 && b != MaxSpin { // 0 on one processor
			t.Errorf("budget %v", b)
		}
		c.readOp.spin.budget = MaxSpin
	}
	echoed := make(chan error, 1)
	go func() {
		for {
			f, err := theirs.Read()
			if err == nil {
				err = theirs.Write(&f)
			}
			if err != nil {
				echoed <- err
				return
			}
		}
	}()
	for id := range uint64(500) {
		if err := ours.Write(&Frame{Type: Call, ID: id, Payload: make([]byte, 100*id)}); err != nil {
			t.Fatal(err)
		}
		if f, err := ours.Read(); err != nil || f.ID != id || len(f.Payload) != int(100*id) {
			t.Fatalf("%d: %d with %d bytes, %v", id, f.ID, len(f.Payload), err)
		}
	}
	ours.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := ours.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ours.Close()
	<-echoed
}
