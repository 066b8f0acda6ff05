package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// This file remembers the digests of files outside, so that a build that changes nothing need not read them again. They
// are found by a look: what stat(2) says of the files, with the times of their last changes (ctime), which nobody can
// set back.

// A summed is what was found out about a source, by reading all of it.
type summed struct {
	Digest v1.Hash
	File   bool // it is one file, and no directory
	// Nothing: it is empty, as a pattern may match nothing.
	Nothing bool
}

// settled is how old a change has to be: within one tick of the clock a file can change twice, and have one ctime.
const settled = time.Second

// A look is a name for what a source is now, without reading it, and the time of its last change. It is "" if the source
// has to be read.
type look func(ctx context.Context) (name string, changed time.Time, err error)

// sum is the digest of a source.
func (b *builder) sum(ctx context.Context, at look, from source) (s summed, err error) {
	began := time.Now()
	name, changed, err := at(ctx)
	if err != nil {
		return s, err
	}
	if name != "" && b.cache.summed(name, &s) {
		return s, nil
	}
	h := sha256.New()
	n, err := from(ctx, h)
	if err != nil {
		return s, err
	}
	s = summed{sum(h), n.File, n.Files == 0}
	if name == "" || began.Sub(changed) < settled {
		return s, nil
	}
	if again, _, err := at(ctx); err != nil || again != name { // it has changed meanwhile
		return s, err
	}
	return s, b.cache.remember(name, s)
}

// sumFile is the digest of an open file.
func (b *builder) sumFile(ctx context.Context, f *os.File) (v1.Hash, error) {
	s, err := b.sum(ctx, func(context.Context) (string, time.Time, error) {
		st, err := f.Stat()
		if err != nil {
			return "", time.Time{}, err
		}
		sys := st.Sys().(*unixStat)
		return digestOf("file", identityOf(sys)), changedAt(sys), nil
	}, func(_ context.Context, w io.Writer) (n packed, err error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return n, err
		}
		_, err = io.Copy(w, f)
		return n, err
	})
	return s.Digest, err
}

// identityOf differs whenever the content of a file may differ.
func identityOf(st *unixStat) [7]int64 {
	return [7]int64{int64(st.Dev), int64(st.Ino), st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec), int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}
}

func changedAt(st *unixStat) time.Time { return time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec)) }

func (c *cache) summed(name string, s *summed) bool {
	b, err := os.ReadFile(filepath.Join(c.dir, "sums", name))
	return c.fresh == "" && err == nil && json.Unmarshal(b, s) == nil
}

func (c *cache) remember(name string, s summed) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.tmp, rand.Text())
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(c.dir, "sums", name))
}
