package gonso

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"

	"github.com/gonso/gonso/internal/sys"
)

// replaceNull sets a command's empty streams if there is no /dev/null for package exec to open, as
// in a chroot. done is called when the command has started, or has failed to.
func replaceNull(in *exec.Cmd) (done func(), err error) {
	if in.Stdin != nil && in.Stdout != nil && in.Stderr != nil {
		return func() {}, nil
	}
	if _, err := os.Stat(os.DevNull); !errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	var files []*os.File
	done = func() { sys.CloseFiles(files) }
	if in.Stdin == nil {
		f, err := sys.Null()
		if err != nil {
			return done, err
		}
		in.Stdin, files = f, append(files, f)
	}
	if in.Stdout != nil && in.Stderr != nil {
		return done, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return done, err
	}
	go func() { // runs until no process has the other end
		defer r.Close()
		_, _ = io.Copy(io.Discard, r)
	}()
	files = append(files, w)
	if in.Stdout == nil {
		in.Stdout = w
	}
	if in.Stderr == nil {
		in.Stderr = w
	}
	return done, nil
}
