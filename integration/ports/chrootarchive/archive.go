//go:build linux

package chrootarchive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/go-archive"
	"github.com/moby/go-archive/compression"
	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"
)

// The functions of the package's users. In go-archive these are in files that the port leaves as
// they are.

// Untar unpacks an archive, compressed or not, into dest, which is made if it is missing.
func Untar(stream io.Reader, dest string, options *archive.TarOptions) error {
	o := orDefault(options)
	uid, gid := o.IDMap.RootPair()
	if err := user.MkdirAllAndChown(dest, 0o755, uid, gid, user.WithOnlyNew); err != nil {
		return err
	}
	return UntarWithRoot(stream, dest, o, dest)
}

// UntarWithRoot unpacks an archive into dest, a directory below root: links on the way to dest mean
// root, too.
func UntarWithRoot(stream io.Reader, dest string, options *archive.TarOptions, root string) error {
	if stream == nil {
		return errors.New("stream: there is no archive")
	}
	path, err := below(root, dest)
	if err != nil {
		return err
	}
	plain, err := compression.DecompressStream(stream)
	if err != nil {
		return err
	}
	defer plain.Close()
	return doUnpack(plain, path, root, orDefault(options))
}

// ApplyLayer applies the layer of an image, compressed or not, to root, and returns the size of
// what is in it.
func ApplyLayer(root string, layer io.Reader, options *archive.TarOptions) (int64, error) {
	plain, err := compression.DecompressStream(layer)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	o := *orDefault(options)
	o.InUserNS = o.InUserNS || userns.RunningInUserNS()
	return doUnpackLayer(filepath.Clean(root), plain, &o)
}

// Tar makes an archive of path, which is below root: links on the way there mean root, too.
func Tar(path string, options *archive.TarOptions, root string) (io.ReadCloser, error) {
	rel, err := below(root, path)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, "/") && rel != "/" {
		rel += "/"
	}
	return doPack(rel, root, orDefault(options))
}

func orDefault(options *archive.TarOptions) *archive.TarOptions {
	if options == nil {
		return &archive.TarOptions{}
	}
	return options
}

// below is path as it is found below root.
func below(root, path string) (string, error) {
	if root == "" {
		return "", fmt.Errorf("root: %w", os.ErrInvalid)
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return "", err
	}
	return filepath.Join("/", rel), nil
}
