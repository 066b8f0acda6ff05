package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
	"golang.org/x/sys/unix"
)

// Descriptors that no frame announces are not taken, however many a peer sends and wherever: what is taken
// is one frame's. (19,724 were held where a frame may have 250.)
func TestPeerCannotHoldTheReadersDescriptors(t *testing.T) {
	flood := func(peer *bare, fd int) {
		for range 100 {
			peer.send(nil, slices.Repeat([]int{fd}, 250)...)
		}
	}
	for name, tt := range map[string]struct {
		send func(peer *bare, fd int)
		want error
	}{
		"before frames without any": {func(peer *bare, fd int) {
			flood(peer, fd)
			for range 8 {
				peer.write(frameBytes(Cancel, 0, ""))
			}
		}, os.ErrDeadlineExceeded},
		"in a payload": {func(peer *bare, fd int) {
			peer.send(header{typ: Result, files: 250, length: 1 << 20}.append(nil), slices.Repeat([]int{fd}, 250)...)
			flood(peer, fd)
		}, os.ErrDeadlineExceeded},
		"with half a header": {func(peer *bare, fd int) {
			peer.write(frameBytes(Cancel, 0, "")[:5])
			flood(peer, fd)
		}, os.ErrDeadlineExceeded},
		"of which one is announced": {func(peer *bare, fd int) {
			flood(peer, fd)
			peer.write(frameBytes(Result, 1, "x"))
		}, ErrProtocol},
		"of which the next ones are too few": {func(peer *bare, fd int) {
			peer.send(nil, fd)
			flood(peer, fd)
			peer.write(frameBytes(Result, 250, "x"))
		}, ErrProtocol},
		"bytes without any": {func(peer *bare, fd int) {
			unix.Sendmsg(peer.Socket, make([]byte, 100), nil, nil, 0)
			peer.send(frameBytes(Result, 1, "x"), fd)
		}, ErrProtocol},
		"one with many bytes": {func(peer *bare, fd int) {
			unix.Sendmsg(peer.Socket, make([]byte, 100), unix.UnixRights(fd), nil, 0)
			for range 2 {
				peer.send(frameBytes(Result, 1, "x"), fd)
			}
		}, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			c, peer := rawPair(t)
			file := tempFiles(t, "")[0]
			before := len(openFDs(t))
			tt.send(peer, int(file.Fd()))
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			var err error
			for err == nil {
				var f Frame
				f, err = c.Read()
				f.Close()
			}
			held := 0
			if !testenv.Poll(func() bool { held = len(openFDs(t)) - before; return held <= 0 }) { // as in noLeak
				t.Errorf("%d descriptors are held after %v", held, err)
			}
			if !errors.Is(err, tt.want) {
				t.Error(err)
			}
			c.Close()
		})
	}
}

// A process that may open no more files has its own trouble: one frame lacks what came with it, and
// the next ones are there. (It was taken for a crime of the peer's, which ended all calls.)
func TestLackOfDescriptorsCostsOneFrame(t *testing.T) {
	noLeak(t)
	for name, left := range map[string]int{"some arrive": 5, "none arrives": 0} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			many := make([]*os.File, 20)
			for i := range many {
				many[i] = tempFiles(t, "content")[0]
			}
			sent := make(chan error, 1)
			go func() {
				for id := range uint64(4) {
					f := Frame{Type: Result, ID: id, Payload: []byte(fmt.Sprint("frame ", id))}
					if id%2 == 1 {
						f.Files = many
					}
					if err := a.Write(&f); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			restore := testenv.LimitFiles(t, left)
			for id := range uint64(4) {
				if id == 2 { // frames 2 and 3 are read together
					restore()
				}
				f, err := b.Read()
				if err != nil || f.ID != id || string(f.Payload) != fmt.Sprint("frame ", id) {
					t.Fatalf("%d: %+v, %v", id, f, err)
				}
				switch id {
				case 1:
					if !errors.Is(f.Lost, unix.EMFILE) || !strings.Contains(f.Lost.Error(), "of its 20 descriptors") || f.Files != nil {
						t.Errorf("lost: %v, files %v", f.Lost, f.Files)
					}
				case 3:
					checkFiles(t, f.Files, slicesOf(20, "content")...)
				default:
					if f.Lost != nil {
						t.Error(f.Lost)
					}
				}
			}
		})
	}
}

func slicesOf(n int, s string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

// What the gate does not want is not read.
func TestGateRefusesBeforeThePayload(t *testing.T) {
	c, peer := rawPair(t)
	refused := errors.New("not this one")
	c.SetGate(func(typ FrameType, id uint64, length int) error {
		if typ != Result || id != 7 || length != 3 {
			return fmt.Errorf("%v %d of %d: %w", typ, id, length, refused)
		}
		return nil
	})
	peer.write(frameBytes(Result, 0, "yes"))
	if f, err := c.Read(); err != nil || string(f.Payload) != "yes" {
		t.Fatalf("%+v, %v", f, err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	peer.write(header{typ: Result, length: MaxPayload, id: 7}.append(nil))
	_, err := c.Read()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, refused) || errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 100<<10 {
		t.Errorf("%d bytes", n)
	}
}

// A frame for which there is no room costs nothing but itself.
func TestRefusedFrameCannotTakeOthersAlong(t *testing.T) {
	c, peer := rawPair(t)
	noRoom := errors.New("no room")
	c.SetGate(func(typ FrameType, id uint64, length int) error {
		if length > 100 {
			return &Refusal{noRoom}
		}
		return nil
	})
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	const large = 3 << 20
	zeros := make([]byte, large)
	go func() {
		for range 3 {
			peer.send(header{typ: Result, files: 1, length: large, id: 7}.append(nil), null)
			for rest := zeros; len(rest) > 0; {
				n, _ := unix.Write(peer.Out, rest)
				rest = rest[max(n, 0):]
			}
			peer.write(frameBytes(Result, 0, "yes"))
		}
	}()
	fds := len(openFDs(t))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		f, err := c.Read()
		if err != nil || !errors.Is(f.Lost, noRoom) || f.Payload != nil || f.Files != nil || f.ID != 7 {
			t.Fatalf("%+v, %v", f, err)
		}
		if f, err = c.Read(); err != nil || string(f.Payload) != "yes" || f.Lost != nil {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
	if n := len(openFDs(t)); n != fds {
		t.Errorf("%d descriptors, were %d", n, fds)
	}
}
