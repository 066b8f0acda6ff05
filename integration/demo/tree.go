//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Tree is what hashing a directory found.
type Tree struct {
	Files   int    // regular files and symbolic links that were hashed
	Bytes   int64  // in the regular files
	Digest  string // sha256 over their sorted paths and hashes
	First   string // the first regular file, relative to the directory
	Skipped int    // could not be read, or are neither file, link nor directory
	// SkippedDigest is over the paths of those: digests of two trees can be
	// compared if it is the same. Root of a user namespace cannot read what
	// belongs to ids that are not mapped, but can what its owner may not.
	SkippedDigest string
	Goroutines    int // that hashed
}

// entry is one path and what was found there.
type entry struct {
	path    string
	hash    [sha256.Size]byte
	size    int64
	regular bool
	skipped bool
}

// hashTree hashes what is below dir in parallel, without following symbolic
// links or crossing into other file systems. Each of its goroutines calls
// inside once, if that is not nil.
func hashTree(ctx context.Context, dir string, inside func() error) (*Tree, error) {
	workers := max(4, runtime.GOMAXPROCS(0))
	jobs := make(chan *entry, 4*workers)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			if inside != nil {
				errs[i] = inside()
			}
			buf := make([]byte, 128<<10)
			for e := range jobs {
				if ctx.Err() == nil {
					e.read(dir, buf)
				}
			}
		})
	}
	entries, err := walk(ctx, dir, jobs)
	close(jobs)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	t := summarize(entries)
	t.Goroutines = workers
	return t, nil
}

// walk sends every entry to jobs and returns them all.
func walk(ctx context.Context, dir string, jobs chan<- *entry) ([]*entry, error) {
	var top unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	var entries []*entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, rerr := filepath.Rel(dir, path)
		if rerr != nil {
			return rerr
		}
		switch {
		case err != nil && path == dir:
			return err
		case err != nil: // a directory that cannot be read
			entries = append(entries, &entry{path: rel, skipped: true})
			return nil
		case d.IsDir():
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err == nil && st.Dev != top.Dev {
				return fs.SkipDir
			}
			return nil
		}
		e := &entry{path: rel, regular: d.Type().IsRegular(), skipped: !d.Type().IsRegular() && d.Type() != fs.ModeSymlink}
		entries = append(entries, e)
		if !e.skipped {
			jobs <- e
		}
		return nil
	})
	return entries, err
}

// read fills in the hash: of what is in a file, or of where a link points.
func (e *entry) read(dir string, buf []byte) {
	path := filepath.Join(dir, e.path)
	if !e.regular {
		target, err := os.Readlink(path)
		e.hash, e.skipped = sha256.Sum256([]byte(target)), err != nil
		return
	}
	hash, size, err := hashFile(path, buf)
	e.hash, e.size, e.skipped = hash, size, err != nil
}

func hashFile(path string, buf []byte) (sum [sha256.Size]byte, size int64, err error) {
	// Should it have become a FIFO meanwhile, this does not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return sum, 0, err
	}
	defer f.Close()
	h := sha256.New()
	// A plain writer: io.CopyBuffer would leave buf alone for an io.WriterTo.
	size, err = io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
	return [sha256.Size]byte(h.Sum(nil)), size, err
}

func summarize(entries []*entry) *Tree {
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.path, b.path) })
	t := &Tree{}
	all, skipped := sha256.New(), sha256.New()
	for _, e := range entries {
		if e.skipped {
			t.Skipped++
			fmt.Fprintf(skipped, "%s\x00", e.path)
			continue
		}
		if e.regular && t.First == "" {
			t.First = e.path
		}
		t.Files++
		t.Bytes += e.size
		fmt.Fprintf(all, "%s\x00%x", e.path, e.hash)
	}
	t.Digest, t.SkippedDigest = hex.EncodeToString(all.Sum(nil)), hex.EncodeToString(skipped.Sum(nil))
	return t
}

// String shows the numbers and the beginning of the digest.
func (t *Tree) String() string {
	s := fmt.Sprintf("%d files, %s, digest %s", t.Files, size(t.Bytes), short(t.Digest))
	if t.Skipped > 0 {
		s += fmt.Sprintf(", %d skipped", t.Skipped)
	}
	return s
}

func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func short(digest string) string { return digest[:min(len(digest), 8)] }
