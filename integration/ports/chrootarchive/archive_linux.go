// Package chrootarchive is chrootarchive of github.com/moby/go-archive on gonso: archives are
// unpacked and packed by a process that has nothing in its mnt namespace but the tree they are for,
// so that links in a tree that nobody trusts lead nowhere else. Programs that use it call
// gonso.Init first in main.
package chrootarchive

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/moby/go-archive"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// job is a call of a process.
type job struct {
	Root, Path string // Path is one below Root
	From       io.Reader
	To         io.Writer
	Options    archive.TarOptions
}

var (
	unpack = gonso.Register("chrootarchive.unpack", func(_ context.Context, j job) (struct{}, error) {
		return struct{}{}, j.inside(func(o *archive.TarOptions) error { return archive.Unpack(j.From, j.Path, o) })
	}, gonso.StartsGoroutines())

	unpackLayer = gonso.Register("chrootarchive.unpackLayer", func(_ context.Context, j job) (size int64, err error) {
		return size, j.inside(func(o *archive.TarOptions) error {
			size, err = archive.UnpackLayer("/", j.From, o)
			return err
		})
	}, gonso.StartsGoroutines())

	pack = gonso.Register("chrootarchive.pack", func(_ context.Context, j job) (struct{}, error) {
		return struct{}{}, j.inside(func(o *archive.TarOptions) error {
			t, err := archive.TarWithOptions(j.Path, o)
			if err == nil {
				_, err = io.Copy(j.To, t)
			}
			return err
		})
	}, gonso.StartsGoroutines())
)

// inside makes the Root of the job that of this process's mnt namespace, and unmounts all else
// (pivot_root(2)).
func (j job) inside(f func(*archive.TarOptions) error) error {
	userns.RunningInUserNS() // reads /proc once, and there is none later
	options, done, err := archive.WithProcSelfFD(&j.Options)
	if err != nil {
		return err
	}
	defer done()
	if err := errors.Join(
		os.NewSyscallError("mount", unix.Mount(j.Root, j.Root, "", unix.MS_BIND|unix.MS_REC, "")),
		os.Chdir(j.Root),
		os.NewSyscallError("pivot_root", unix.PivotRoot(".", ".")),
		os.NewSyscallError("umount2", unix.Unmount(".", unix.MNT_DETACH)),
		os.Chdir("/"),
	); err != nil {
		return err
	}
	return f(options)
}

// do runs a job in a process of its own.
func do[Out any](ctx context.Context, f *gonso.Func[job, Out], j job, opts ...gonso.DoOption) (out Out, err error) {
	s, err := gonso.Unshare(gonso.Mount)
	if err != nil {
		return out, err
	}
	defer s.Close()
	return f.Do(ctx, s, j, append(opts, gonso.Isolated())...)
}

func doUnpack(decompressedArchive io.Reader, relDest, root string, opts *archive.TarOptions) error {
	_, err := do(context.Background(), unpack, job{Root: root, Path: relDest, From: decompressedArchive, Options: *opts})
	return err
}

func doUnpackLayer(root string, layer io.Reader, opts *archive.TarOptions) (int64, error) {
	return do(context.Background(), unpackLayer, job{Root: root, From: layer, Options: *opts}, gonso.Umask(0))
}

func doPack(relSrc, root string, options *archive.TarOptions) (io.ReadCloser, error) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := do(ctx, pack, job{Root: root, Path: relSrc, To: w, Options: *options})
		w.CloseWithError(err)
	}()
	return &packed{r, cancel, ended}, nil
}

// packed is an archive as it is made.
type packed struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

// Close ends the process, and waits for that.
func (p *packed) Close() error {
	p.PipeReader.Close()
	p.cancel()
	<-p.ended
	return nil
}
