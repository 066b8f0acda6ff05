package child

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/sys"
)

// perCall says that this program is dynamically linked and would find no loader in the Set's mount
// namespace. The program runs outside of that namespace. Each call enters it on a thread that ends
// with the call.
var perCall struct {
	on  bool
	dir string // working directory inside, or ""
}

// takeMountArgs looks for the parent's arguments, and hides them from main.
func takeMountArgs() error {
	if len(os.Args) != 3 || os.Args[1] != handshake.MountArg {
		if handshake.EntersMount() {
			return errArguments
		}
		return nil
	}
	perCall.on, perCall.dir = true, os.Args[2]
	os.Args = os.Args[:1]
	_, err := unix.FcntlInt(handshake.MountFD, unix.F_SETFD, unix.FD_CLOEXEC)
	return os.NewSyscallError("fcntl", err)
}

var errArguments = errors.New("an init function of the program has changed os.Args before package gonso was initialized, and with it the directory that calls are to run in")

const dynamicRemedy = "this program is dynamically linked and finds no loader in the Set's mount namespace: " +
	"build it with CGO_ENABLED=0, or have a static program as helper (Worker.Path)"

var errGoroutines = sys.Wrap("a function that starts goroutines cannot run inside: "+dynamicRemedy, errors.ErrUnsupported)

// enterMount moves the calling thread, which must end, into the mount namespace.
func enterMount() error {
	if !perCall.on {
		return nil
	}
	// Until then, all threads share root and working directory.
	err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS))
	if err == nil {
		err = os.NewSyscallError("setns", unix.Setns(handshake.MountFD, unix.CLONE_NEWNS))
	}
	if err != nil {
		return fmt.Errorf("the thread of the call cannot enter the mount namespace: %w; %s", err, dynamicRemedy)
	}
	if perCall.dir != "" {
		if err := unix.Chdir(perCall.dir); err != nil {
			return &os.PathError{Op: "chdir", Path: perCall.dir, Err: err}
		}
	}
	return nil
}
