package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packets makes every write to the Conn's pipe one read at its other end (pipe(2), O_DIRECT).
func packets(t *testing.T, c *Conn) {
	t.Helper()
	var err error
	ctlErr := c.out.raw.Control(func(fd uintptr) {
		var flags int
		if flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0); err == nil {
			_, err = unix.FcntlInt(fd, unix.F_SETFL, flags|unix.O_DIRECT)
		}
	})
	if err = errors.Join(ctlErr, err); err != nil {
		t.Fatal(err)
	}
}

// packet returns the ids of the frames of the next write.
func packet(t *testing.T, fd int) (ids []uint64) {
	t.Helper()
	b := make([]byte, usualPipe)
	n, err := unix.Read(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	for b = b[:n]; len(b) >= headerSize; {
		h, err := parseHeader(b[:headerSize])
		if err != nil {
			t.Fatal(err)
		}
		ids, b = append(ids, h.id), b[headerSize+h.length:]
	}
	return ids
}

func sameIDs(a []uint64, b ...uint64) bool { return slices.Equal(a, b) }

// Goroutines that are ready to run go first, and one write has the frames of all.
func TestFramesOfManyGoInOneWrite(t *testing.T) {
	noLeak(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	parent, worker := rawPair(t)
	packets(t, parent)
	const many = 16
	var wg sync.WaitGroup
	for id := range uint64(many) {
		wg.Go(func() {
			if err := parent.Gather(&Frame{Type: Call, ID: id, Payload: []byte("small")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := make(map[uint64]bool)
	writes := 0
	for ; len(seen) < many; writes++ {
		for _, id := range packet(t, worker.In) {
			seen[id] = true
		}
	}
	if writes > many/4 { // one, unless this machine let one of them wait
		t.Errorf("%d frames in %d writes", many, writes)
	}
}

// One frame after the other finds no company, and then does not wait for it any more. With company
// it waits again.
func TestLonelyFrameCannotWaitForever(t *testing.T) {
	noLeak(t)
	parent, worker := rawPair(t)
	packets(t, parent)
	for id := range uint64(100) {
		if err := parent.Gather(&Frame{Type: Call, ID: id}); err != nil {
			t.Fatal(err)
		}
		if ids := packet(t, worker.In); !sameIDs(ids, id) {
			t.Fatalf("frame %d came as %v", id, ids)
		}
	}
	var g gathered
	waited := 0
	for range 100 * aloneRetry {
		if g.sociable() {
			waited++
			g.add(header{}, &Frame{}, time.Now())
			g.take(nil)
		}
	}
	if waited < 100 || waited > 100+alonePatience {
		t.Errorf("%d of %d waited", waited, 100*aloneRetry)
	}
	g.add(header{}, &Frame{}, time.Now())
	if !g.sociable() {
		t.Error("not where another waits")
	}
	g.add(header{}, &Frame{}, time.Now())
	g.take(nil)
	if !g.sociable() {
		t.Error("not after a frame with company")
	}
}

// A worker's answers wait until its reader has nothing more to do, and no longer.
func TestAnswersWaitForTheReader(t *testing.T) {
	noLeak(t)
	parent, worker := pair(t)
	packets(t, worker)
	in := make(chan int, 1)
	if err := parent.in.raw.Control(func(fd uintptr) { in <- int(fd) }); err != nil {
		t.Fatal(err)
	}
	fd := <-in
	readable := func() bool {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	answer := func(write func(*Frame) error, id uint64) {
		t.Helper()
		if err := write(&Frame{Type: Result, ID: id, Payload: []byte("small")}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(want ...uint64) {
		t.Helper()
		if err := unix.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
		defer unix.SetNonblock(fd, true)
		if ids := packet(t, fd); !sameIDs(ids, want...) {
			t.Errorf("came %v, want %v", ids, want)
		}
	}
	read := make(chan error, 1)
	reads := func() {
		_, err := worker.Read()
		read <- err
	}
	next := func() {
		t.Helper()
		if err := parent.Write(&Frame{Type: Cancel}); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}

	worker.gathered.since = time.Now().Add(time.Hour) // whatever this machine is busy with
	answer(worker.Gather, 1)
	if readable() {
		t.Error("the first did not wait")
	}
	go reads()
	await(1)
	for !worker.waits.Load() { // it is about to wait since before it wrote
		runtime.Gosched()
	}
	answer(worker.Gather, 2)
	await(2)
	next()
	if worker.waits.Load() {
		t.Error("it still waits")
	}

	answer(worker.Gather, 3) // a frame that does not wait takes along what does
	answer(worker.Write, 4)
	await(3, 4)
	answer(worker.Gather, 5)
	if err := worker.Write(&Frame{Type: Result, ID: 6, Payload: make([]byte, smallFrame), Tail: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	f, err := parent.Read()
	if g, err2 := parent.Read(); err != nil || err2 != nil || f.ID != 5 || g.ID != 6 || len(g.Payload) != smallFrame+1 {
		t.Errorf("came %d, %d: %v, %v", f.ID, g.ID, err, err2)
	}
	answer(worker.Gather, 7)
	if err := worker.Gather(&Frame{Type: Result, ID: 8, Files: tempFiles(t, "content")}); err != nil {
		t.Fatal(err)
	}
	f, err = parent.Read()
	g, err2 := parent.Read()
	if err != nil || err2 != nil || f.ID != 7 || g.ID != 8 {
		t.Errorf("came %d, %d: %v, %v", f.ID, g.ID, err, err2)
	}
	checkFiles(t, g.Files, "content")
	if err := worker.Gather(&Frame{Type: Cancel, Payload: []byte("x")}); !errors.As(err, new(*UnsentError)) {
		t.Errorf("a frame that cannot be: %v", err)
	}

	parent.Close()
	answer(worker.Gather, 9) // somebody else learns of it
	if _, err := worker.Read(); !errors.Is(err, unix.EPIPE) && err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// Neither many frames wait, nor does one for long.
func TestGatheredIsFull(t *testing.T) {
	var g gathered
	begin := time.Now()
	f := &Frame{Payload: make([]byte, smallGathered)}
	for n := 1; ; n++ {
		first, full := g.add(header{}, f, begin.Add(longGathered-1))
		if first != (n == 1) {
			t.Errorf("frame %d: first %v", n, first)
		}
		if want := n*(headerSize+smallGathered) >= fullGathered; full != want {
			t.Errorf("frame %d: full %v", n, full)
		}
		if full {
			break
		}
	}
	memory := make([]byte, 0, 10)
	if b := g.take(memory); len(b) < fullGathered || cap(g.frames) != cap(memory) {
		t.Errorf("%d bytes taken, memory of %d left", len(b), cap(g.frames))
	}
	if b := g.take(memory); len(b) != 0 {
		t.Errorf("%d bytes more", len(b))
	}
	g.add(header{}, f, begin)
	if _, full := g.add(header{}, f, begin.Add(longGathered-1)); full {
		t.Error("too early")
	}
	if _, full := g.add(header{}, f, begin.Add(longGathered)); !full {
		t.Error("too late")
	}
}

// Whoever learns of it, an error is the end of the connection: a frame is lost.
func TestLostFrameIsTheEnd(t *testing.T) {
	parent, worker := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := worker.Gather(&Frame{Type: Result, ID: 1}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(int(w.Fd()), int(worker.out.file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := worker.Write(&Frame{Type: Result, ID: 2}); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("error %v", err)
	}
	for name, err := range map[string]error{
		"Write": worker.Write(&Frame{Type: Result, ID: 3}),
		"Flush": func() error { worker.Gather(&Frame{Type: Result, ID: 4}); return worker.Flush() }(),
		"Read":  func() error { _, err := worker.Read(); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "an earlier frame was cut short") {
			t.Errorf("%s: %v", name, err)
		}
	}
	parent.Close()
	worker.Close()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// Frames that are gathered and frames that are not: all of them arrive, each sender's in order.
func TestGatheredFramesKeepTheirOrder(t *testing.T) {
	noLeak(t)
	parent, worker := pair(t)
	const senders, each = 16, 200
	echoed := make(chan error, 1)
	go func() {
		for {
			f, err := worker.Read()
			if err != nil {
				echoed <- err
				return
			}
			f.Type = Result
			if err := worker.Gather(&f); err != nil {
				t.Error(err)
			}
		}
	}()
	var wg sync.WaitGroup
	for s := range uint64(senders) {
		wg.Go(func() {
			for i := range each {
				f := Frame{Type: Call, ID: s, Payload: []byte{byte(i)}, Tail: bytes.Repeat([]byte{byte(s)}, i*i%1500)}
				write := parent.Gather
				if i%7 == 0 {
					write = parent.Write
				}
				if err := write(&f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [senders]byte
	for range senders * each {
		f, err := parent.Read()
		if err != nil {
			t.Fatal(err)
		}
		i := int(f.Payload[0])
		if byte(i) != next[f.ID] || len(f.Payload) != 1+i*i%1500 {
			t.Fatalf("sender %d: frame %d of %d bytes, want frame %d", f.ID, i, len(f.Payload), next[f.ID])
		}
		next[f.ID]++
	}
	wg.Wait()
	parent.Close()
	if err := <-echoed; err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}
