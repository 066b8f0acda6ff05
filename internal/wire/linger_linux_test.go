package wire

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// lingering is the last descriptor of a TCP socket whose close takes an hour: nobody reads what
// it has to send.
func lingering(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err == nil {
		_, err = c.Write(make([]byte, 1<<16))
	}
	if err := c.(*net.TCPConn).SetLinger(3600); err != nil {
		t.Fatal(err)
	}
	var fd int
	rc, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = rc.Control(func(n uintptr) { fd, err = sys.DupFD(int(n)) })
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(fd, false)
	return fd
}

// Whoever has the other end cannot hold up who closes what came from there: taken or queued, in
// one message or in many.
func TestLingeringSocketCannotHoldUpItsReceiver(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, c *Conn, peer *bare, linger int){
		"queued": func(t *testing.T, c *Conn, peer *bare, linger int) {
			peer.send(nil, linger)
			unix.Close(linger)
			c.Close()
		},
		"queued behind others": func(t *testing.T, c *Conn, peer *bare, linger int) {
			for range 20 {
				peer.send(nil, peer.In)
			}
			peer.send(nil, linger)
			unix.Close(linger)
			c.Close()
		},
		"taken": func(t *testing.T, c *Conn, peer *bare, linger int) {
			peer.send(frameBytes(Result, 1, "ab"), linger)
			unix.Close(linger)
			f, err := c.Read()
			if err != nil || len(f.Files) != 1 {
				t.Fatal(err)
			}
			f.Close()
			c.Close()
		},
		"too many": func(t *testing.T, c *Conn, peer *bare, linger int) {
			peer.send(frameBytes(Result, 250, ""), append(slices.Repeat([]int{peer.In}, 252), linger)...)
			unix.Close(linger)
			if _, err := c.Read(); err == nil {
				t.Error("no error")
			}
			c.Close()
		},
		"not a frame": func(t *testing.T, c *Conn, peer *bare, linger int) {
			peer.send([]byte("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), linger)
			unix.Close(linger)
			if _, err := c.Read(); err == nil {
				t.Error("no error")
			}
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := rawPair(t)
			linger := lingering(t)
			begin := time.Now()
			if !sys.WithinTime(5*time.Second, func() { do(t, c, peer, linger) }) {
				t.Fatal("it is held up")
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
