package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// refused is the reason why package init has found that this process must not be a worker.
var refused error

// The mark is made, and the parent is told, before any code of the program can run. From here on,
// silence means that main does not call Init.
func init() {
	if !handshake.IsWorker() {
		return
	}
	handshake.SetPending(true)
	if refused = refuseElevated(); refused != nil {
		return
	}
	takeSpinArg()
	if refused = takeMountArgs(); refused != nil {
		return
	}
	if Ends, refused = wire.TakeEnds(handshake.SocketFD); refused != nil {
		return
	}
	refused = greet(wire.Alive)
}

// Ends are this worker's ends of its connection. Workers of tests use them to misbehave.
var Ends wire.Ends

// spin is how long the worker looks for the next frame before it sleeps.
var spin time.Duration

// takeSpinArg removes the parent's SpinArg from the arguments. If an init function has taken it,
// the worker does not spin.
func takeSpinArg() {
	if len(os.Args) < 2 {
		return
	}
	if budget, ok := strings.CutPrefix(os.Args[1], handshake.SpinArg); ok {
		spin, _ = time.ParseDuration(budget)
		os.Args = append(os.Args[:1:1], os.Args[2:]...)
	}
}

func greet(t wire.FrameType) error {
	return Ends.Greet(wire.Hello{Protocol: wire.Version, PID: uint32(os.Getpid())}, t)
}

// refuseElevated is against users who start a program that has more privileges than they have. Such
// a user could choose argv[0], and then the functions that the program runs. AT_SECURE shows a
// setuid bit or file capabilities of this program. It does not show them behind a wrapper that has
// them, and that has become root completely or has made its capabilities ambient. There, no
// launcher vouches for the start.
func refuseElevated() error {
	secure, err := sys.Secure()
	switch {
	case err != nil:
		return fmt.Errorf("AT_SECURE is not known: %w", err)
	case secure:
		return errors.New("this program runs with more privileges than the user who started it (AT_SECURE)")
	}
	peer, err := unix.GetsockoptUcred(handshake.SocketFD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("whose socket this is, is not known: %w", err)
	}
	// Of a process in another pid namespace that is not below ours both say 0.
	if parent := os.Getppid(); int(peer.Pid) != parent {
		return fmt.Errorf("the socket is of process %d, not of the parent %d (SO_PEERCRED)", peer.Pid, parent)
	}
	vouched, err := launcher.Vouched()
	switch {
	case err != nil:
		return err
	case vouched:
		return nil
	case peer.Uid == 0:
		return nil // root may have anything; without some capabilities it gets them by exec, and that counts as a gain
	}
	// A user who starts it by hand gains nothing.
	caps, err := sys.ThreadCaps()
	uid, gid := int(peer.Uid), int(peer.Gid)
	if err == nil && caps.Permitted == 0 && uid == os.Getuid() && uid == os.Geteuid() && gid == os.Getgid() && gid == os.Getegid() {
		return nil
	}
	return fmt.Errorf("it was not started by gonso, or what started it has gained privileges since: its socket is of uid %d and gid %d", uid, gid)
}

// Main serves calls until the parent closes the connection, and ends the process.
// It never returns.
func Main() {
	conn, err := (*wire.Conn)(nil), refused
	if err == nil && handshake.IsWorker() {
		conn, err = Ends.Conn()
	}
	if conn == nil {
		if err == nil {
			err = errors.New("this process was not started as a worker")
		}
		fmt.Fprintf(os.Stderr, "gonso: refused to serve as a worker: %v\n", err)
		os.Exit(126)
	}
	conn.SetSpin(spin)
	handshake.SetPending(false)
	handshake.SetInitialized() // wherever main called this from
	// This goroutine only waits. It keeps the main thread if it is on it, so that most calls find
	// another one at once.
	runtime.LockOSThread()
	s := newServer(conn)
	err = greet(wire.Ready)
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
