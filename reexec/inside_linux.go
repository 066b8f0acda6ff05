package reexec

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// withMember calls f with the directory in /proc of a launcher in the namespaces of joins. It is
// for facts that only the files of a member show.
func withMember(ctx context.Context, joins []Join, protect bool, doing string, f func(d *procfs.Dir) error) error {
	return visitMember(ctx, composeMember(joins, protect, os.Geteuid() != 0, lookAtOwn(ctx, false)), joins, doing, f)
}

// withShownMember is withMember for a /proc that shows a plain user only processes that this user
// may trace (hidepid in proc(5)). If somebody else may be root inside, the launcher then makes
// itself dumpable: it has given up everything before.
func withShownMember(ctx context.Context, joins []Join, protect bool, doing string, f func(d *procfs.Dir) error) error {
	seen := true
	err := withMember(ctx, joins, protect, doing, func(d *procfs.Dir) error {
		err := f(d)
		seen = err == nil
		return err
	})
	hidden := errors.Is(err, unix.ESRCH) || !seen && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist))
	if !hidden || !protect || os.Geteuid() == 0 {
		return err
	}
	if visitMember(ctx, composeBareMember(joins, lookAtOwn(ctx, true), chrooted()), joins, doing, f) == nil {
		return nil
	}
	return err
}

func visitMember(ctx context.Context, l *launch, joins []Join, doing string, f func(d *procfs.Dir) error) error {
	return l.visit(ctx, &launcher.Cmd{Args: []string{"gonso-member"}, Files: files(joins)}, doing, func(pid int) error {
		d, err := procfs.Process(pid)
		if err != nil {
			return err
		}
		defer d.Close()
		return f(d)
	})
}

// visit starts a launcher whose list ends with Sync and Wait, calls look when it has got there, and
// ends it.
func (l *launch) visit(ctx context.Context, cmd *launcher.Cmd, doing string, look func(pid int) error) error {
	if handshake.Pending() {
		return errSecondGeneration
	}
	p, err := l.start(ctx, lookAtStarter(nil), cmd, func() {})
	if err != nil {
		return err
	}
	defer p.Reap(exitTimeout)
	defer p.Close()
	defer p.Kill() // the launcher waits, and has nothing left to do
	if err := p.Next(ctx); err != nil {
		return l.ended(p, doing, err)
	}
	return look(p.Pid)
}

// Root opens the root directory of a process that joins the namespaces. The caller needs the right
// to trace this process.
func Root(ctx context.Context, joins []Join, protect bool) (root *os.File, err error) {
	err = withMember(ctx, joins, protect, "joining the mnt namespace", func(d *procfs.Dir) (err error) {
		root, err = d.Link("root")
		return err
	})
	return root, err
}

// Interpreter returns the program that the kernel executes in place of f: the interpreter in the
// first line of a script, or the loader of a dynamically linked program. It is "" for every other
// file.
func Interpreter(f io.ReaderAt) (path string, script bool) {
	const maxLine = 256 // BINPRM_BUF_SIZE
	head := make([]byte, maxLine)
	n, _ := f.ReadAt(head, 0)
	if line, ok := bytes.CutPrefix(head[:n], []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		name, _, _ := bytes.Cut(bytes.ReplaceAll(bytes.TrimLeft(line, " \t"), []byte("\t"), []byte(" ")), []byte(" "))
		return string(name), true
	}
	e, err := readELF(f)
	if err != nil || e.loaderSize == 0 || e.loaderSize > maxLoader {
		return "", false
	}
	name := make([]byte, e.loaderSize)
	if _, err := f.ReadAt(name, e.loaderAt); err != nil {
		return "", false
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	return string(name), false
}

// maxLoader is PATH_MAX, as in load_elf_binary of fs/binfmt_elf.c.
const maxLoader = 4096
