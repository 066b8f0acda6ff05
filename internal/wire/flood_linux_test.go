package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
	"golang.org/x/sys/unix"
)

// sendFDs sends b with n duplicates of fd, as far as the peer still takes it.
func sendFDs(peer int, b []byte, fd, n int) {
	var oob []byte
	if n > 0 {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = fd
		}
		oob = unix.UnixRights(fds...)
	}
	_ = unix.Sendmsg(peer, b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}

// Descriptors that nobody asked for are not held: a peer that sends sets of them wherever it can
// would have this process open no more files (19,724 were held where a frame may have 250).
func TestPeerCannotHoldTheReadersDescriptors(t *testing.T) {
	small := frameBytes(Cancel, 0, "")
	long := header{typ: Result, length: 1 << 20}.append(nil)
	for name, send := range map[string]func(peer, fd int){
		"in a payload": func(peer, fd int) {
			sendFDs(peer, long, fd, 0)
			for range 8 {
				sendFDs(peer, []byte{0}, fd, 250)
			}
		},
		"in a payload, behind its own": func(peer, fd int) {
			sendFDs(peer, header{typ: Result, files: 250, length: 1 << 20}.append(nil), fd, 250)
			for range 8 {
				sendFDs(peer, []byte{0}, fd, 250)
			}
		},
		"with every byte of a header": func(peer, fd int) {
			for _, b := range long {
				sendFDs(peer, []byte{b}, fd, 250)
			}
		},
		"behind a frame": func(peer, fd int) {
			sendFDs(peer, append(small, small[:5]...), fd, 250)
			for _, b := range small[5:] {
				sendFDs(peer, []byte{b}, fd, 250)
			}
		},
		"at the start of each of many frames": func(peer, fd int) {
			for range 8 {
				sendFDs(peer, header{typ: Result, length: 100}.append(nil), fd, 250)
			}
		},
		"of which one is announced": func(peer, fd int) {
			for range 8 {
				sendFDs(peer, header{typ: Result, files: 1, length: 100}.append(nil), fd, 250)
			}
		},
		"before a payload that never comes": func(peer, fd int) {
			sendFDs(peer, long[:3], fd, 250)
			sendFDs(peer, long[3:], fd, 250)
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			c, peer := rawPair(t)
			file := tempFiles(t, "")[0]
			before := len(openFDs(t))
			send(peer, int(file.Fd()))
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			var err error
			for err == nil {
				var f Frame
				f, err = c.Read()
				f.Close()
			}
			if held := len(openFDs(t)) - before; held > 0 {
				t.Errorf("%d descriptors are held after %v", held, err)
			}
			if !errors.Is(err, ErrProtocol) {
				t.Error(err)
			}
			c.Close()
		})
	}
	// Those that may be announced yet wait, one set of them.
	t.Run("with half a header", func(t *testing.T) {
		noLeak(t)
		c, peer := rawPair(t)
		file := tempFiles(t, "")[0]
		before := len(openFDs(t))
		sendFDs(peer, small[:5], int(file.Fd()), 250)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if held := len(openFDs(t)) - before; held > MaxFiles {
			t.Errorf("%d descriptors are held", held)
		}
		c.Close()
	})
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
	unix.Write(peer, frameBytes(Result, 0, "yes"))
	if f, err := c.Read(); err != nil || string(f.Payload) != "yes" {
		t.Fatalf("%+v, %v", f, err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	unix.Write(peer, header{typ: Result, length: MaxPayload, id: 7}.append(nil))
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
			unix.Sendmsg(peer, header{typ: Result, files: 1, length: large, id: 7}.append(nil), unix.UnixRights(null), nil, 0)
			for rest := zeros; len(rest) > 0; {
				n, _ := unix.Write(peer, rest)
				rest = rest[max(n, 0):]
			}
			unix.Write(peer, frameBytes(Result, 0, "yes"))
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
