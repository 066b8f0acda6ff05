package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
)

// pair is what parent and worker have.
func pair(t testing.TB) (parent, worker *Conn) {
	t.Helper()
	parent, ends := halfPair(t)
	worker, err := ends.Conn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { parent.Close(); worker.Close() })
	return parent, worker
}

func halfPair(t testing.TB) (parent *Conn, worker Ends) {
	t.Helper()
	parent, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := sys.DupFD(int(f.Fd()))
	if err == nil {
		worker, err = TakeEnds(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	return parent, worker
}

// bare is a worker's end without a Conn.
type bare struct {
	t testing.TB
	Ends
}

// rawPair gives the parent's Conn and the bare other end.
func rawPair(t testing.TB) (*Conn, *bare) {
	t.Helper()
	c, ends := halfPair(t)
	b := &bare{t, ends}
	t.Cleanup(func() { c.Close(); b.close() })
	return c, b
}

func (b *bare) close() {
	unix.Close(b.Socket)
	unix.Close(b.In)
	b.end()
}

// end closes what frames are written to.
func (b *bare) end() {
	if b.Out >= 0 {
		unix.Close(b.Out)
		b.Out = -1
	}
}

func (b *bare) write(p []byte) {
	for len(p) > 0 {
		n, err := unix.Write(b.Out, p)
		if err != nil {
			return // it is over
		}
		p = p[n:]
	}
}

// send sends descriptors and then bytes, as far as the socket takes the former.
func (b *bare) send(p []byte, fds ...int) {
	if len(fds) > 0 {
		_ = unix.Sendmsg(b.Socket, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	}
	b.write(p)
}

// noLeak fails the test if it ends with other descriptors than it began with.
func noLeak(t *testing.T) {
	t.Helper()
	pr, pw, _ := os.Pipe() // the poller's own descriptors come with the first use
	pr.Close()
	pw.Close()
	before := openFDs(t)
	t.Cleanup(func() { // what takes long is closed in a goroutine
		if !testenv.Poll(func() bool { return len(openFDs(t)) == len(before) }) {
			t.Errorf("descriptors leaked:\nbefore %v\nafter  %v", before, openFDs(t))
		}
	})
}

func openFDs(t testing.TB) (open []string) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range dir {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			open = append(open, e.Name()+"="+to)
		}
	}
	return open
}

func TestBlocking(t *testing.T) {
	noLeak(t)
	parent, worker := pair(t)
	if err := worker.SetReadDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("deadline: %v", err)
	}
	const frames = 64
	echoed := make(chan error, 1)
	go func() {
		for {
			f, err := worker.Read()
			if err == nil {
				err = worker.Write(&Frame{Type: Result, ID: f.ID, Tail: f.Payload, Files: f.Files})
				f.Close()
			}
			if err != nil {
				echoed <- err
				return
			}
		}
	}()
	files := tempFiles(t, "content")
	wrote := make(chan error, 1)
	go func() { // more than the pipes hold, so that each waits for the other
		for id := range uint64(frames) {
			if err := parent.Write(&Frame{Type: Call, ID: id, Tail: bytes.Repeat([]byte{byte(id)}, 300<<10), Files: files}); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for id := range uint64(frames) {
		f, err := parent.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.ID != id || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(id)}, 300<<10)) {
			t.Errorf("frame %d came back as %d with %d bytes", id, f.ID, len(f.Payload))
		}
		checkFiles(t, f.Files, "content")
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	parent.Close()
	if err := <-echoed; err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

func TestFramesCross(t *testing.T) {
	noLeak(t)
	a, b := pair(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	frames := []Frame{
		Hello{Version, 42}.Frame(Alive),
		{Type: Call, ID: 1},
		{Type: Call, ID: 1<<64 - 1, Payload: []byte("x")},
		{Type: Result, ID: 2, Payload: []byte("head"), Tail: []byte("tail")},
		{Type: Result, ID: 3, Tail: []byte("only a tail")},
		{Type: Result, ID: 4, Payload: []byte("head"), Tail: big},
		{Type: Result, ID: 7, Tail: big},
		{Type: Result, ID: 8, Payload: big},
		{Type: Result, ID: 5, Payload: big[:smallFrame+1]},
		{Type: Cancel, ID: 6},
	}
	for _, dir := range [][2]*Conn{{a, b}, {b, a}} {
		go func() {
			for _, f := range frames {
				if err := dir[0].Write(&f); err != nil {
					t.Error(err)
				}
			}
		}()
		for _, want := range frames {
			got, err := dir[1].Read()
			if err != nil {
				t.Fatal(err)
			}
			if got.Type != want.Type || got.ID != want.ID || !bytes.Equal(got.Payload, append(want.Payload[:len(want.Payload):len(want.Payload)], want.Tail...)) {
				t.Errorf("%v %d of %d bytes arrived as %v %d of %d bytes", want.Type, want.ID, len(want.Payload)+len(want.Tail), got.Type, got.ID, len(got.Payload))
			}
		}
	}
	a.Close()
	if _, err := b.Read(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func tempFiles(t testing.TB, contents ...string) (files []*os.File) {
	t.Helper()
	for _, s := range contents {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

func checkFiles(t *testing.T, files []*os.File, want ...string) {
	t.Helper()
	if len(files) != len(want) {
		t.Fatalf("%d files, want %d", len(files), len(want))
	}
	for i, f := range files {
		b := make([]byte, 64)
		n, _ := f.ReadAt(b, 0)
		if string(b[:n]) != want[i] {
			t.Errorf("file %d holds %q, want %q", i, b[:n], want[i])
		}
		raw, _ := f.SyscallConn()
		raw.Control(func(fd uintptr) {
			if flags, _ := unix.FcntlInt(fd, unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
				t.Error("a received descriptor survives exec")
			}
		})
		f.Close()
	}
}

func TestDescriptorsCross(t *testing.T) {
	noLeak(t)
	a, b := pair(t)
	files := tempFiles(t, "one", "two", "three")
	// All are there before the first Read: frames with and without descriptors share a read.
	for _, f := range []Frame{
		{Type: Call, ID: 1, Payload: []byte("none")},
		{Type: Call, ID: 2, Files: files[:1]},
		{Type: Call, ID: 3, Payload: []byte("none")},
		{Type: Call, ID: 4, Files: files[1:], Payload: []byte("p"), Tail: []byte("t")},
		{Type: Call, ID: 5, Files: files[2:]},
		{Type: Call, ID: 6, Files: files, Payload: make([]byte, 50<<10)},
		{Type: Call, ID: 7},
	} {
		if err := a.Write(&f); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range [][]string{nil, {"one"}, nil, {"two", "three"}, {"three"}, {"one", "two", "three"}, nil} {
		f, err := b.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.ID != uint64(id+1) {
			t.Errorf("frame %d, want %d", f.ID, id+1)
		}
		checkFiles(t, f.Files, want...)
	}

	many := make([]*os.File, MaxFiles+1)
	for i := range many {
		many[i] = files[0]
	}
	if err := a.Write(&Frame{Type: Call, Files: many}); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("too many descriptors: %v", err)
	}
	if err := a.Write(&Frame{Type: Call, ID: 8, Files: many[1:]}); err != nil {
		t.Fatal(err)
	}
	f, err := b.Read()
	if err != nil || len(f.Files) != MaxFiles {
		t.Fatalf("%d descriptors, %v", len(f.Files), err)
	}
	for _, f := range f.Files {
		f.Close()
	}
	closed := tempFiles(t, "")
	closed[0].Close()
	if err := a.Write(&Frame{Type: Call, Files: closed}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
}

func frameBytes(typ FrameType, files int, payload string) []byte {
	return append(header{typ, files, len(payload), 7}.append(nil), payload...)
}

// TestHostilePeer sends what no Conn would. Each must be an error, and leave no descriptor open.
func TestHostilePeer(t *testing.T) {
	oversize := header{typ: Result, length: MaxPayload + 1}.append(nil)
	reserved := frameBytes(Cancel, 0, "")
	reserved[3] = 1
	type msg struct {
		b   []byte
		fds int
	}
	whole := frameBytes(Result, 0, "payload")
	for name, tt := range map[string]struct {
		msgs []msg
		want error
	}{
		"nothing":                 {nil, io.EOF},
		"half a header":           {[]msg{{whole[:10], 0}}, io.ErrUnexpectedEOF},
		"header only":             {[]msg{{whole[:headerSize], 0}}, io.ErrUnexpectedEOF},
		"half a payload":          {[]msg{{whole[:headerSize+3], 0}}, io.ErrUnexpectedEOF},
		"half a large payload":    {[]msg{{header{typ: Result, length: MaxPayload}.append(nil), 0}, {make([]byte, 70000), 0}}, io.ErrUnexpectedEOF},
		"cut, with descriptors":   {[]msg{{frameBytes(Result, 2, "payload")[:headerSize+1], 2}}, io.ErrUnexpectedEOF},
		"half a header with fds":  {[]msg{{whole[:5], 3}}, io.ErrUnexpectedEOF},
		"magic":                   {[]msg{{bytes.Repeat([]byte{'x'}, 100), 1}}, ErrProtocol},
		"version":                 {[]msg{{append([]byte{magic, Version + 1}, whole[2:]...), 0}}, ErrProtocol},
		"reserved":                {[]msg{{reserved, 0}}, ErrProtocol},
		"unknown type 0":          {[]msg{{frameBytes(0, 0, ""), 0}}, ErrProtocol},
		"unknown type":            {[]msg{{frameBytes(endOfTypes, 0, ""), 0}}, ErrProtocol},
		"oversize":                {[]msg{{oversize, 1}}, codec.ErrTooLarge},
		"oversize control":        {[]msg{{frameBytes(Alive, 0, strings.Repeat("x", maxControl+1)), 0}}, codec.ErrTooLarge},
		"cancel with payload":     {[]msg{{frameBytes(Cancel, 0, "x"), 0}}, codec.ErrTooLarge},
		"cancel with fds":         {[]msg{{frameBytes(Cancel, 1, ""), 1}}, codec.ErrTooLarge},
		"too many announced":      {[]msg{{frameBytes(Result, MaxFiles+1, ""), 1}}, codec.ErrTooLarge},
		"253 descriptors":         {[]msg{{frameBytes(Result, MaxFiles, ""), 253}}, ErrProtocol},
		"announced, did not come": {[]msg{{frameBytes(Result, 1, ""), 0}}, ErrProtocol},
		"fewer than announced":    {[]msg{{frameBytes(Result, 3, ""), 2}}, ErrProtocol},
		"more than announced":     {[]msg{{frameBytes(Result, 1, ""), 2}}, ErrProtocol},
		"others came before":      {[]msg{{frameBytes(Cancel, 0, "")[:4], 2}, {frameBytes(Cancel, 0, "")[4:], 0}, {frameBytes(Result, 1, ""), 1}}, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			c, peer := rawPair(t)
			file := tempFiles(t, "")[0]
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, m := range tt.msgs {
					peer.send(m.b, slices.Repeat([]int{int(file.Fd())}, m.fds)...)
				}
				peer.end()
			}()
			var f Frame
			var err error
			for err == nil {
				f, err = c.Read()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("frame %+v, error %v, want %v", f, err, tt.want)
			}
			<-done
			if _, again := c.Read(); again != err {
				t.Errorf("the error does not stay: %v, then %v", err, again)
			}
			c.Close()
		})
	}
}

// TestSplitEverywhere sends three frames, one with descriptors, cut into two writes at every byte.
func TestSplitEverywhere(t *testing.T) {
	noLeak(t)
	file := tempFiles(t, "content")[0]
	parts := [][]byte{frameBytes(Call, 0, "first"), frameBytes(Call, 1, "second"), frameBytes(Cancel, 0, "")}
	all := bytes.Join(parts, nil)
	for cutAt := 1; cutAt < len(all); cutAt++ {
		c, peer := rawPair(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			send := func(from, to int) {
				if mid := len(parts[0]); from <= mid && mid < to { // before their frame begins
					peer.send(nil, int(file.Fd()))
				}
				peer.write(all[from:to])
			}
			send(0, cutAt)
			if cutAt%7 == 0 {
				await(t, c, func(queued int) bool { return queued == 0 }) // only the first part is there
			}
			send(cutAt, len(all))
		})
		for i, want := range []string{"first", "second", ""} {
			f, err := c.Read()
			if err != nil || string(f.Payload) != want {
				t.Fatalf("cut at %d: frame %d: %q, %v", cutAt, i, f.Payload, err)
			}
			if i == 1 {
				checkFiles(t, f.Files, "content")
			} else {
				checkFiles(t, f.Files)
			}
		}
		wg.Wait()
		c.Close()
	}
}

func TestWriteChecks(t *testing.T) {
	a, b := pair(t)
	for _, tt := range []struct {
		f    Frame
		want error
	}{
		{Frame{}, ErrProtocol},
		{Frame{Type: endOfTypes}, ErrProtocol},
		{Frame{Type: Result, Payload: make([]byte, MaxPayload), Tail: []byte{0}}, codec.ErrTooLarge},
		{Frame{Type: Cancel, Payload: []byte{0}}, codec.ErrTooLarge},
	} {
		if err := a.Write(&tt.f); !errors.Is(err, tt.want) {
			t.Errorf("%v: %v", tt.f.Type, err)
		}
	}
	// Nothing of it went out.
	if err := a.Write(&Frame{Type: Cancel, ID: 9}); err != nil {
		t.Fatal(err)
	}
	if f, err := b.Read(); err != nil || f.ID != 9 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	noLeak(t)
	a, b := pair(t)
	file := tempFiles(t, "content")
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				f := Frame{Type: Call, ID: uint64(w), Payload: []byte{byte(i)}, Tail: bytes.Repeat([]byte{byte(w)}, i*i*20)}
				if i%5 == 0 {
					f.Files = file
				}
				if err := a.Write(&f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [writers]byte
	for range writers * each {
		f, err := b.Read()
		if err != nil {
			t.Fatal(err)
		}
		i := f.Payload[0]
		if i != next[f.ID] || len(f.Payload) != 1+int(i)*int(i)*20 || bytes.Count(f.Payload[1:], []byte{byte(f.ID)}) != len(f.Payload)-1 {
			t.Fatalf("writer %d: frame %d of %d bytes, want frame %d", f.ID, i, len(f.Payload), next[f.ID])
		}
		if (i%5 == 0) != (len(f.Files) == 1) {
			t.Fatalf("frame %d has %d files", i, len(f.Files))
		}
		for _, f := range f.Files {
			f.Close()
		}
		next[f.ID]++
	}
	wg.Wait()
}

func TestCloseWakes(t *testing.T) {
	a, b := pair(t)
	errs := make(chan error, 2)
	go func() {
		_, err := a.Read()
		errs <- err
	}()
	go func() {
		for {
			if err := a.Write(&Frame{Type: Call, Tail: make([]byte, 1<<20)}); err != nil {
				errs <- err
				return
			}
		}
	}()
	await(t, b, func(queued int) bool { return queued > 0 })
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		select {
		case err := <-errs:
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("woken with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Close woke nobody")
		}
	}
	if err := a.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := a.Read(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if err := a.Write(&Frame{Type: Call}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
}

// TestCloseDropsArrived: descriptors of frames that nobody reads any more.
func TestCloseDropsArrived(t *testing.T) {
	noLeak(t)
	a, b := pair(t)
	for range 3 {
		if err := a.Write(&Frame{Type: Call, Files: tempFiles(t, "", "")}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := b.Read()
	if err != nil {
		t.Fatal(err)
	}
	checkFiles(t, f.Files, "", "")
	b.Close()
}

func TestDeadlines(t *testing.T) {
	c, peer := rawPair(t)
	whole := frameBytes(Call, 0, "payload")
	peer.write(whole[:3])
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Time{})
	peer.write(whole[3:])
	if f, err := c.Read(); err != nil || string(f.Payload) != "payload" {
		t.Errorf("after a deadline within a header: %+v, %v", f, err)
	}
	peer.write(whole[:headerSize+2])
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	for range 2 {
		if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Time{})
	}

	wrote := make(chan error)
	go func() { wrote <- c.Write(&Frame{Type: Call, Tail: make([]byte, 8<<20)}) }()
	if n, err := unix.Read(peer.In, make([]byte, 1)); n != 1 || err != nil { // it cannot end
		t.Fatal(n, err)
	}
	c.out.file.SetWriteDeadline(time.Unix(1, 0))
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	c.out.file.SetWriteDeadline(time.Time{})
	if err := c.Write(&Frame{Type: Cancel}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write behind half a frame: %v", err)
	}
}

// A worker that is gone is seen by who reads. Who writes gets neither an error for it nor a signal.
func TestWriteToDeadPeer(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGPIPE)
	defer signal.Stop(signals)
	parent, worker := rawPair(t)
	worker.close()
	if err := parent.Write(&Frame{Type: Call}); err != nil {
		t.Error(err)
	}
	if _, err := parent.Read(); err != io.EOF {
		t.Error(err)
	}
	wrote := make(chan error)
	go func() { wrote <- parent.Write(&Frame{Type: Call, Tail: make([]byte, 8<<20)}) }()
	await(t, parent, nil)
	parent.Shutdown()
	if err := <-wrote; !errors.Is(err, unix.EPIPE) {
		t.Errorf("behind what the pipe holds: %v", err)
	}
	select {
	case s := <-signals:
		t.Errorf("got %v", s)
	default:
	}
}

// Shutdown ends a conversation of which somebody else keeps the other end.
func TestShutdown(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		c, peer := rawPair(t)
		file := tempFiles(t, "content")[0]
		peer.send(frameBytes(Result, 1, "first"), int(file.Fd()))
		peer.write(frameBytes(Result, 0, "second"))
		if blocked {
			for range 2 {
				f, err := c.Read()
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			time.AfterFunc(20*time.Millisecond, c.Shutdown)
		} else {
			c.Shutdown()
			for i, want := range []string{"first", "second"} {
				f, err := c.Read()
				if err != nil || string(f.Payload) != want || len(f.Files) != 1-i {
					t.Errorf("%+v, %v; want %q", f, err, want)
				}
				f.Close()
			}
		}
		if _, err := c.Read(); err != io.EOF {
			t.Errorf("blocked %v: %v", blocked, err)
		}
		c.SetReadDeadline(time.Time{})
		if _, err := c.Read(); err != io.EOF {
			t.Errorf("again: %v", err)
		}
		if err := c.Write(&Frame{Type: Cancel}); !errors.Is(err, unix.EPIPE) {
			t.Errorf("Write: %v", err)
		}
	}
}

// A descriptor that is another file by now, since the program has closed what was not its own, is
// not written to.
func TestFrameCannotGoIntoAnotherFile(t *testing.T) {
	for name, victim := range map[string]func(parent, worker *Conn) (*Conn, int){
		"parent": func(parent, worker *Conn) (*Conn, int) { return parent, int(parent.out.file.Fd()) },
		"worker": func(parent, worker *Conn) (*Conn, int) { return worker, int(worker.out.file.Fd()) },
	} {
		t.Run(name, func(t *testing.T) {
			parent, worker := pair(t)
			c, fd := victim(parent, worker)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := unix.Dup3(int(w.Fd()), fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if err := c.Write(&Frame{Type: Result, Payload: []byte("secret")}); err == nil || !strings.Contains(err.Error(), "another file") {
				t.Errorf("error %v", err)
			}
			parent.Close()
			worker.Close()
			if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestNotTheEndOfAConnection(t *testing.T) {
	noLeak(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	seq, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lonely, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range append(append(seq[:], lonely), empty[:]...) {
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		if _, err := TakeEnds(fd); err == nil {
			t.Errorf("descriptor %d was accepted", fd)
		}
		if _, err := f.Stat(); err != nil {
			t.Errorf("a refused file is no longer open: %v", err)
		}
	}
	if _, err := TakeEnds(int(r.Fd())); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("a pipe: %v", err)
	}
	if _, err := TakeEnds(1 << 20); !errors.Is(err, unix.EBADF) {
		t.Errorf("nothing: %v", err)
	}
}

// TestReadAllocation: a header that lies about its length costs no memory.
func TestReadAllocation(t *testing.T) {
	c, peer := rawPair(t)
	peer.write(header{typ: Result, length: MaxPayload}.append(nil))
	peer.end()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Read(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

// await polls how many bytes wait to be read from c; with nil, until its own pipe takes no more.
func await(t testing.TB, c *Conn, enough func(queued int) bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	raw, events := c.in.raw, unix.POLLIN
	if enough == nil {
		raw, events = c.out.raw, unix.POLLOUT
		enough = func(n int) bool { return n == 0 }
	}
	for range 100_000 {
		var n int
		var callErr error
		err := raw.Control(func(fd uintptr) {
			if events == unix.POLLIN {
				n, callErr = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			} else {
				n, callErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
			}
		})
		if err = errors.Join(err, callErr); err != nil {
			t.Error(err)
			return
		}
		if enough(n) {
			return
		}
		<-tick.C
	}
	t.Error("waited in vain")
}
