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

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
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

// writeLayout adds the image to a layout, which is made if it is not there; one of the same name is replaced.
func writeLayout(img v1.Image, dir, tag string) error {
	path, err := layout.FromPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = layout.Write(dir, empty.Index)
	}
	if err != nil {
		return fmt.Errorf("-o %s: %w", dir, err)
	}
	return path.ReplaceImage(img, match.Name(tag), layout.WithAnnotations(map[string]string{refName: tag}))
}

// writeArchive writes a tar of a layout, which others call oci-archive. It appears when all of it is there.
func (c *cache) writeArchive(img v1.Image, file, tag string) (err error) {
	dir, err := os.MkdirTemp(c.tmp, "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeLayout(img, dir, tag); err != nil {
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
		_, err = io.Copy(tw, in)
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
