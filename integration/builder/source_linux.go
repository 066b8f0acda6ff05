package main

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/gonso/gonso/gonso"
)

// This file is what FROM, COPY --from and run name: "scratch", an image of -t, oci:DIR[:TAG], rootfs:FILE, or a
// reference to a registry.

// locate finds the file of a reference; in a Dockerfile only those below the context are.
func (b *builder) locate(path string) (string, error) {
	if b.context == nil { // the command line has named it
		return filepath.Abs(path)
	}
	root, err := os.OpenRoot(b.context.Name())
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(path); err != nil {
		return "", fmt.Errorf("%w (paths are those of the build context; --build-context names what is elsewhere)", err)
	}
	return filepath.Join(b.context.Name(), path), nil
}

// image finds an image by its reference.
func (b *builder) image(ctx context.Context, ref string) (*image, error) {
	outside, ok := b.contexts[ref]
	find := b.locate
	if ok {
		ref, find = outside, filepath.Abs
	}
	if ref == "scratch" {
		return &image{config: v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH}}, nil
	}
	if path, ok := strings.CutPrefix(ref, "oci:"); ok {
		dir, tag, _ := strings.Cut(path, ":")
		dir, err := find(dir)
		if err != nil {
			return nil, err
		}
		img, err := fromLayout(dir, tag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		return b.load(ctx, img)
	}
	if path, ok := strings.CutPrefix(ref, "rootfs:"); ok {
		file, err := find(path)
		if err != nil {
			return nil, err
		}
		return b.rootfs(ctx, file)
	}
	if img, err := b.cache.byName(ref); err != nil || img != nil {
		return img, err
	}
	from, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(from, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return b.load(ctx, img)
}

// fromLayout finds the image of a tag, or the only one.
func fromLayout(dir, tag string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	tags := []string{}
	for _, d := range m.Manifests {
		name := d.Annotations[refName]
		if name == tag || tag == "" && len(m.Manifests) == 1 {
			return forPlatform(index, d, 4)
		}
		tags = append(tags, name)
	}
	if tag == "" {
		return nil, fmt.Errorf("it has %d images: write oci:DIR:TAG with a TAG of %q", len(tags), tags)
	}
	return nil, fmt.Errorf("it has no image with the tag %q: there is %q", tag, tags)
}

// forPlatform is the image that a descriptor stands for: itself, or in an index the one for this machine. An index may
// hold others, to a depth.
func forPlatform(index v1.ImageIndex, d v1.Descriptor, depth int) (v1.Image, error) {
	switch {
	case d.MediaType.IsImage():
		return index.Image(d.Digest)
	case !d.MediaType.IsIndex() || depth == 0:
		return nil, fmt.Errorf("%v is no image, but %s", d.Digest, d.MediaType)
	}
	inner, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	m, err := inner.IndexManifest()
	if err != nil {
		return nil, err
	}
	others := []string{}
	for _, d := range m.Manifests {
		if p := d.Platform; p == nil || p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return forPlatform(inner, d, depth-1)
		}
		others = append(others, d.Platform.String())
	}
	return nil, fmt.Errorf("it has no image for %s: there is %q", platform(), others)
}

// load brings the layers of an image into the cache.
func (b *builder) load(ctx context.Context, from v1.Image) (*image, error) {
	cfg, err := from.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	layers, err := from.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(cfg.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the manifest has %d layers and the configuration %d", len(layers), len(cfg.RootFS.DiffIDs))
	}
	if cfg.OS != "linux" || cfg.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("the image is for %s/%s, and this machine is %s", cfg.OS, cfg.Architecture, platform())
	}
	img := &image{config: *cfg.DeepCopy()}
	times := make(map[v1.Hash]int)
	for i, from := range layers {
		digest, err := from.Digest()
		if err != nil {
			return nil, err
		}
		want := cfg.RootFS.DiffIDs[i]
		key := digestOf("base", want.String(), digest.String())
		if n := times[want]; n > 0 { // an overlay takes a directory once
			key = digestOf(key, n)
		}
		times[want]++
		l, _, err := b.cache.get(ctx, key, func(dir string) (*layer, error) {
			return b.unpack(ctx, dir, from, want)
		})
		if err != nil {
			return nil, fmt.Errorf("layer %v: %w", digest, err)
		}
		img.layers = append(img.layers, l)
	}
	return img, nil
}

// unpack brings one layer into a directory of the cache; its digests have to be what is said.
func (b *builder) unpack(ctx context.Context, dir string, from v1.Layer, want v1.Hash) (*layer, error) {
	l := &layer{DiffID: want}
	var err error
	if l.Digest, err = from.Digest(); err != nil {
		return nil, err
	}
	if l.MediaType, err = from.MediaType(); err != nil {
		return nil, err
	}
	switch l.MediaType { // the same bytes under their names in OCI images
	case types.DockerLayer:
		l.MediaType = types.OCILayer
	case types.DockerUncompressedLayer:
		l.MediaType = types.OCIUncompressedLayer
	}
	in, err := from.Compressed()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	blob, err := os.Create(filepath.Join(dir, "blob"))
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	outer := sha256.New()
	compressed := io.TeeReader(in, io.MultiWriter(blob, outer))
	if l.applied, err = b.apply(ctx, dir, compressed, &l.DiffID, applyIn{Layer: true}); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, compressed); err != nil {
		return nil, err
	}
	if got := sum(outer); got != l.Digest {
		return nil, fmt.Errorf("its digest is wrong: what came is %v", got)
	}
	if l.DiffID != want {
		return nil, fmt.Errorf("its content is wrong: it is %v, and the configuration says %v", l.DiffID, want)
	}
	st, err := blob.Stat()
	l.Size = st.Size()
	return l, errors.Join(err, blob.Close())
}

// apply unpacks an archive into upper of dir.
func (b *builder) apply(ctx context.Context, dir string, in io.Reader, diffID *v1.Hash, how applyIn) (out applied, err error) {
	upper := filepath.Join(dir, upperDir)
	if err := b.cache.mkdir(upper); err != nil {
		return out, err
	}
	root, err := openPath(upper)
	if err != nil {
		return out, err
	}
	defer root.Close()
	plain, err := decompress(in)
	if err != nil {
		return out, err
	}
	defer plain.Close()
	inner := sha256.New()
	how.In, how.Epoch = io.TeeReader(plain, inner), b.epoch
	out, err = applyFunc.Do(ctx, b.cache.users, how, gonso.Root(root))
	if diffID != nil {
		*diffID = sum(inner)
	}
	return out, err
}

// rootfs makes an image of an archive of a root file system.
func (b *builder) rootfs(ctx context.Context, file string) (*image, error) {
	f, err := openText(ctx, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest, err := b.sumFile(ctx, f)
	if err != nil {
		return nil, err
	}
	l, _, err := b.cache.get(ctx, digestOf("rootfs", digest.String(), b.compression, b.epoch), func(dir string) (*layer, error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if _, err := b.apply(ctx, dir, f, nil, applyIn{}); err != nil {
			return nil, err
		}
		return b.pack(ctx, dir, nil, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &image{config: v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH}, layers: []*layer{l}}, nil
}

type readCloser struct {
	io.Reader
	close func()
}

func (r readCloser) Close() error { r.close(); return nil }

// decompress reads gzip, zstd, bzip2, xz, or what is not compressed.
func decompress(in io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	head, err := r.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return readCloser{bzip2.NewReader(r), func() {}}, nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		x, err := xz.NewReader(r)
		return readCloser{x, func() {}}, err
	}
	return readCloser{r, func() {}}, nil
}
