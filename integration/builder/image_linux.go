package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// An image is a configuration and layers of the cache.
type image struct {
	config v1.ConfigFile
	layers []*layer
}

// raw makes the image as it is in layouts and registries. It implements partial.CompressedImageCore.
type raw struct {
	config, manifest []byte
	layers           map[v1.Hash]*layer
}

const refName = "org.opencontainers.image.ref.name"

func (i *image) oci() (v1.Image, error) {
	cfg := i.config
	cfg.RootFS = v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	r := &raw{layers: make(map[v1.Hash]*layer)}
	for _, l := range i.layers {
		if l.Empty {
			continue
		}
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: l.MediaType, Size: l.Size, Digest: l.Digest})
		r.layers[l.Digest] = l
	}
	var err error
	if r.config, err = json.Marshal(cfg); err != nil {
		return nil, err
	}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(r.config))}
	if m.Config.Digest, _, err = v1.SHA256(bytes.NewReader(r.config)); err != nil {
		return nil, err
	}
	if r.manifest, err = json.Marshal(m); err != nil {
		return nil, err
	}
	return partial.CompressedToImage(r)
}

func (r *raw) RawConfigFile() ([]byte, error)          { return r.config, nil }
func (r *raw) RawManifest() ([]byte, error)            { return r.manifest, nil }
func (r *raw) MediaType() (types.MediaType, error)     { return types.OCIManifestSchema1, nil }
func (l *rawLayer) Digest() (v1.Hash, error)           { return l.l.Digest, nil }
func (l *rawLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.l.blob()) }
func (l *rawLayer) Size() (int64, error)               { return l.l.Size, nil }
func (l *rawLayer) MediaType() (types.MediaType, error) {
	return l.l.MediaType, nil
}

type rawLayer struct{ l *layer }

func (r *raw) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	l, ok := r.layers[h]
	if !ok {
		return nil, fmt.Errorf("no layer %v", h)
	}
	return &rawLayer{l}, nil
}

// writeLayout adds the image to a layout, which is made if it is not there; one of the same name is replaced. Of an image
// all comes or nothing, and builders that write to one layout do so one after the other.
func writeLayout(ctx context.Context, img v1.Image, dir, tag string) error {
	w := &layoutWriter{ctx: ctx, path: dir}
	err := w.open()
	if err == nil {
		err = w.image(img, tag)
	}
	if err = w.end(err); err != nil {
		err = fmt.Errorf("-o %s: %w", dir, err)
	}
	return err
}

// A layoutWriter has a layout for itself.
type layoutWriter struct {
	ctx  context.Context
	path string
	dir  *os.File // locked
	made []string // what was not there before
}

// open makes the directory if it is not there, and locks it.
func (w *layoutWriter) open() error {
	for tries := 0; ; tries++ {
		if err := w.mkdir(w.path); err != nil {
			return err
		}
		f, err := os.OpenFile(w.path, os.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			w.dir = f
			err = flock(w.ctx, f, unix.LOCK_EX)
		}
		if err != nil && (tries == 1000 || !errors.Is(err, fs.ErrNotExist)) { // a link may lead nowhere
			return err
		}
		locked, lerr := f.Stat()
		if now, err := os.Stat(w.path); err == nil && lerr == nil && os.SameFile(now, locked) {
			return w.mkdir(filepath.Join(w.path, "blobs", "sha256"))
		}
		f.Close() // a builder that failed has removed what it had made
	}
}

func (w *layoutWriter) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = w.mkdir(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if err == nil {
		w.made = append(w.made, dir)
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return err
}

func (w *layoutWriter) image(img v1.Image, tag string) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		size, err := l.Size()
		if err != nil {
			return err
		}
		in, err := l.Compressed()
		if err != nil {
			return err
		}
		err = w.file("blobs/sha256/"+digest.Hex, size, in)
		in.Close()
		if err != nil {
			return err
		}
	}
	for _, get := range []func() ([]byte, error){img.RawConfigFile, img.RawManifest} {
		b, err := get()
		if err == nil {
			err = w.file(fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(b)), int64(len(b)), bytes.NewReader(b))
		}
		if err != nil {
			return err
		}
	}
	const version = `{"imageLayoutVersion":"1.0.0"}`
	if err := w.file("oci-layout", int64(len(version)), strings.NewReader(version)); err != nil {
		return err
	}
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	b, err := os.ReadFile(filepath.Join(w.path, "index.json"))
	if err == nil {
		index, err = v1.ParseIndexManifest(bytes.NewReader(b))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	desc, err := partial.Descriptor(img)
	if err != nil {
		return err
	}
	desc.Annotations = map[string]string{refName: tag}
	index.Manifests = append(slices.DeleteFunc(index.Manifests, match.Name(tag)), *desc)
	if b, err = json.MarshalIndent(index, "", "   "); err != nil {
		return err
	}
	return w.file("index.json", -1, bytes.NewReader(b)) // last: with it the image is there
}

// file writes a file, which appears when all of it is there. One that has the size is there already.
func (w *layoutWriter) file(name string, size int64, in io.Reader) error {
	to, tmp := filepath.Join(w.path, name), filepath.Join(w.path, ".builder")
	st, err := os.Lstat(to)
	if err == nil && st.Size() == size {
		return nil
	}
	if err != nil {
		w.made = append(w.made, to)
	}
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a builder that was killed
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	_, err = io.Copy(f, contextReader{w.ctx, in})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// end unlocks the layout, after it has removed what was made for an image that did not come.
func (w *layoutWriter) end(err error) error {
	if err != nil {
		for _, name := range slices.Backward(w.made) {
			os.Remove(name) // a directory stays if others have put something there
		}
	}
	w.dir.Close()
	return err
}

// A contextReader reads until the context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// writeArchive writes a tar of a layout, which others call oci-archive. It appears when all of it is there.
func (c *cache) writeArchive(ctx context.Context, img v1.Image, file, tag string) (err error) {
	dir, err := os.MkdirTemp(c.tmp, "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeLayout(ctx, img, dir, tag); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".builder-")
	if err != nil {
		return fmt.Errorf("-o %s: %w", file, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	tw := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		h := &tar.Header{Name: rel, Mode: 0o644, Size: st.Size(), Uid: os.Getuid(), Gid: os.Getgid()}
		if d.IsDir() {
			h.Name, h.Mode, h.Size = rel+"/", 0o755, 0
		}
		if err := tw.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(tw, contextReader{ctx, in})
		return err
	})
	if err := errors.Join(err, tw.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("-o %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}

func push(ctx context.Context, img v1.Image, ref string) error {
	to, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(to, img, remote.WithContext(ctx))
	}
	if err != nil {
		return fmt.Errorf("--push %s: %w", ref, err)
	}
	return nil
}

// A blobWriter compresses a layer on its way to a file, and finds its digests.
type blobWriter struct {
	file         *os.File
	compressor   io.WriteCloser
	plain, outer hash.Hash
	l            layer
}

func newBlob(file, compression string) (*blobWriter, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	w := &blobWriter{file: f, plain: sha256.New(), outer: sha256.New()}
	out := io.MultiWriter(f, w.outer)
	switch compression {
	case "zstd":
		w.l.MediaType = types.OCILayerZStd
		w.compressor, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
	default:
		w.l.MediaType = types.OCILayer
		w.compressor = gzip.NewWriter(out)
	}
	return w, err
}

func (w *blobWriter) Write(p []byte) (int, error) {
	w.plain.Write(p)
	return w.compressor.Write(p)
}

// layer ends the writing.
func (w *blobWriter) layer() (*layer, error) {
	err := w.compressor.Close()
	st, serr := w.file.Stat()
	if err := errors.Join(err, serr, w.file.Close()); err != nil {
		return nil, err
	}
	w.l.Size, w.l.DiffID, w.l.Digest = st.Size(), sum(w.plain), sum(w.outer)
	return &w.l, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}
}
