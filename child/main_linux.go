package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// found is what package init found out.
var found struct {
	conn *wire.Conn
	err  error
}

// The mark is made before anything of the program can run, and the parent is
// told: from here on, silence means that main does not call Init.
func init() {
	if !handshake.IsWorker() {
		return
	}
	handshake.SetPending(true)
	if found.err = refuseElevated(); found.err != nil {
		return
	}
	if found.err = takeMountArgs(); found.err != nil {
		return
	}
	found.conn, found.err = wire.Blocking(handshake.SocketFD)
	if found.err == nil {
		found.err = greet(wire.Alive)
	}
}

func greet(t wire.FrameType) error {
	f := wire.Hello{Protocol: wire.Version, PID: uint32(os.Getpid())}.Frame(t)
	return found.conn.Write(&f)
}

// refuseElevated keeps whoever starts a setuid program, or one with file
// capabilities, from choosing argv[0] and then the functions it runs.
func refuseElevated() error {
	secure, err := sys.Secure()
	switch {
	case err != nil:
		return fmt.Errorf("AT_SECURE is not known: %w", err)
	case secure:
		return errors.New("this program runs with more privileges than who started it (AT_SECURE)")
	}
	return nil
}

// Main serves calls until the parent closes the socket, and ends the process.
// It never returns.
func Main() {
	if !handshake.IsWorker() || found.err != nil {
		err := found.err
		if err == nil {
			err = errors.New("this process was not started as a worker")
		}
		fmt.Fprintf(os.Stderr, "gonso: refused to serve as a worker: %v\n", err)
		os.Exit(126)
	}
	handshake.SetPending(false)
	// Functions end threads, and the main thread cannot end: it stays this
	// goroutine's, which only waits.
	runtime.LockOSThread()
	s := newServer(found.conn)
	err := greet(wire.Ready)
	if err == nil {
		go s.serve()
		err = <-s.failed
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		os.Exit(0) // the parent is done or gone
	}
	fmt.Fprintf(os.Stderr, "gonso: worker: %v\n", err)
	os.Exit(1)
}
