package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// A cache is a directory of layers, found by what they were made from.
//
//	steps/KEY/    a layer: upper/ for overlays, blob as it is in images, layer.json
//	mounts/NAME/  of RUN --mount=type=cache
//	images/       what -t has named
//	sums/         digests of files outside that were read
//	tmp/          a directory for each builder that runs, locked by it: what is there without a lock is left behind
//
// A layer comes into steps by one rename, when all of it is there. So it does not matter when a builder is killed.
type cache struct {
	dir   string
	users *gonso.Set // a user namespace with all subordinate ids, in which the files of images belong to who they say
	root  owner      // id 0 of that, outside
	tmp   string
	locks []*os.File
	group singleflight.Group
	fresh string // differs with each builder if nothing is to be found
}

// A layer of an image.
type layer struct {
	Key       string `json:"-"`
	Empty     bool   `json:",omitempty"` // nothing was changed, so it is in no image
	DiffID    v1.Hash
	Digest    v1.Hash
	Size      int64
	MediaType types.MediaType
	applied
	path string
}

func (l *layer) blob() string { return filepath.Join(l.path, "blob") }

func defaultCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/gonso-builder", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "gonso-builder"), err
}

var errInUse = errors.New("a builder is using the cache")

// openCache opens the cache, alone or along with other builders, and removes what builders that were killed have left.
func openCache(ctx context.Context, dir string, alone bool) (c *cache, err error) {
	if dir == "" {
		if dir, err = defaultCache(); err != nil {
			return nil, err
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	c = new(cache)
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.users, err = userNS(); err != nil {
		return c, err
	}
	uids, gids, err := c.users.IDMaps()
	if err != nil {
		return c, err
	}
	c.root = owner{int(uids[0].HostID), int(gids[0].HostID)}
	// Files belong to ids outside, so other maps need other files.
	c.dir = filepath.Join(dir, "ids-"+digestOf(uids, gids)[:12])
	for _, d := range []string{"steps", "mounts", "images", "sums", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			return c, err
		}
	}
	// A setuid program of an image is one outside, too: nobody else comes to it.
	if err := errors.Join(os.Chown(c.dir, -1, c.root.GID), os.Chmod(c.dir, 0o710)); err != nil {
		return c, err
	}
	if os.Geteuid() != 0 {
		if err := os.Chmod(c.dir, 0o700); err != nil {
			return c, err
		}
	} else {
		for at := dir; at != "/"; at = filepath.Dir(at) {
			if st, err := os.Stat(at); err != nil || st.Mode()&1 == 0 {
				return c, fmt.Errorf("-cache %s: root of the user namespace is another user outside, and may not enter %s: chmod a+x, or name another directory (%w)", dir, at, cmp.Or(err, fs.ErrPermission))
			}
		}
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	if err := c.lock(ctx, "lock", how); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", c.dir, errInUse)
		}
		return c, err
	}
	return c, c.ownTmp(ctx)
}

// flock locks an open file, and waits for others as long as the context lets it.
func flock(ctx context.Context, f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == unix.EINTR || err == unix.EWOULDBLOCK && how&unix.LOCK_NB == 0 {
			select {
			case <-ctx.Done(): // flock(2) that waits hears of no context
				err = context.Cause(ctx)
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("the lock of %s: %w", f.Name(), err)
		}
		return nil
	}
}

// lock locks a file or directory of the cache until close.
func (c *cache) lock(ctx context.Context, name string, how int) error {
	path := filepath.Join(c.dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EISDIR) {
		f, err = os.Open(path)
	}
	if err != nil {
		return err
	}
	if err := flock(ctx, f, how); err != nil {
		f.Close()
		return err
	}
	c.locks = append(c.locks, f)
	return nil
}

func (c *cache) unlock() {
	last := len(c.locks) - 1
	c.locks[last].Close()
	c.locks = c.locks[:last]
}

// ownTmp makes a locked directory below tmp, and removes those that nobody has locked.
func (c *cache) ownTmp(ctx context.Context) error {
	if err := c.lock(ctx, "tmp.lock", unix.LOCK_EX); err != nil { // nobody else makes or looks meanwhile
		return err
	}
	defer c.unlock()
	entries, err := os.ReadDir(filepath.Join(c.dir, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join("tmp", e.Name())
		if err := c.lock(ctx, name, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			continue // somebody's
		}
		// What cannot be removed now, as something of it is still on its way out, the next builder removes.
		_ = c.remove(ctx, filepath.Join(c.dir, name))
		c.unlock()
	}
	tmp := filepath.Join("tmp", rand.Text())
	if err := os.Mkdir(filepath.Join(c.dir, tmp), 0o755); err != nil {
		return err
	}
	c.tmp = filepath.Join(c.dir, tmp)
	if err := c.lock(ctx, tmp, unix.LOCK_EX); err != nil {
		return err
	}
	n := len(c.locks)
	c.locks[n-1], c.locks[n-2] = c.locks[n-2], c.locks[n-1] // tmp.lock is the one to be unlocked
	return nil
}

// close removes what this builder has of its own.
func (c *cache) close() error {
	var err error
	if c.tmp != "" {
		ctx, stop := context.WithTimeout(context.Background(), time.Minute) // also after Ctrl-C
		defer stop()
		err = c.remove(ctx, c.tmp)
	}
	for _, f := range c.locks {
		f.Close()
	}
	if c.users != nil {
		c.users.Close()
	}
	return err
}

// remove removes a directory whose files belong to subordinate ids.
func (c *cache) remove(ctx context.Context, dir string) error {
	if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil // it was empty, and no worker is needed
	}
	f, err := openPath(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	// What belongs to another id inside root may empty, too.
	if err := os.Chown(dir, c.root.UID, c.root.GID); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, err := removeFunc.Do(ctx, c.users, nil, gonso.Root(f)); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return os.Remove(dir)
}

// openPath opens a directory whose mode may keep even its owner from reading it.
func openPath(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// scratch makes a directory that root inside owns.
func (c *cache) scratch() (string, error) {
	dir := filepath.Join(c.tmp, rand.Text())
	if err := c.mkdir(dir); err != nil {
		return "", err
	}
	return dir, nil
}

func (c *cache) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return err
	}
	return os.Chown(dir, c.root.UID, c.root.GID)
}

// get returns the layer of a key, which fill makes in a directory if there is none.
func (c *cache) get(ctx context.Context, key string, fill func(dir string) (*layer, error)) (l *layer, cached bool, err error) {
	key = digestOf(key, c.fresh)
	cached = true
	v, err, _ := c.group.Do(key, func() (any, error) {
		if l, err := c.look(key); err == nil {
			return l, nil
		}
		cached = false
		dir, err := c.scratch()
		if err != nil {
			return nil, err
		}
		l, err := fill(dir)
		if err != nil {
			return nil, errors.Join(err, c.discard(dir))
		}
		return c.commit(ctx, dir, key, l)
	})
	if err != nil {
		return nil, false, err
	}
	return v.(*layer), cached, nil
}

func (c *cache) discard(dir string) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	return c.remove(ctx, dir)
}

func (c *cache) look(key string) (*layer, error) {
	l := &layer{Key: key, path: filepath.Join(c.dir, "steps", key)}
	b, err := os.ReadFile(filepath.Join(l.path, "layer.json"))
	if err == nil {
		err = json.Unmarshal(b, l)
	}
	return l, err
}

// commit has a directory with upper and blob become the layer of a key.
func (c *cache) commit(ctx context.Context, dir, key string, l *layer) (*layer, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "layer.json"), b, 0o644); err != nil {
		return nil, err
	}
	err = os.Rename(dir, filepath.Join(c.dir, "steps", key))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) { // another builder was faster
		err = c.remove(ctx, dir)
	}
	if err != nil {
		return nil, err
	}
	return c.look(key)
}

// mount is the directory of a cache mount.
func (c *cache) mount(id string) (string, error) {
	dir := filepath.Join(c.dir, "mounts", digestOf(id))
	if err := c.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

// usage is what a part of the cache takes on disk.
type usage struct {
	Path  string
	Bytes int64
}

func (c *cache) usage() (all []usage, err error) {
	for _, part := range []string{"steps", "mounts"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, part))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			dir, err := openPath(filepath.Join(c.dir, part, e.Name()))
			if err != nil {
				return nil, err
			}
			n, err := sizeFunc.Do(context.Background(), c.users, struct{}{}, gonso.Root(dir))
			dir.Close()
			if err != nil {
				return nil, err
			}
			all = append(all, usage{part + "/" + e.Name(), n})
		}
	}
	return all, nil
}

var sizeFunc = gonso.Register("builder.size", func(context.Context, struct{}) (n int64, err error) {
	return n, filepath.WalkDir("/", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil {
			n += st.Sys().(*unixStat).Blocks * 512
		}
		return err
	})
})

// prune removes everything.
func (c *cache) prune(ctx context.Context) error {
	var errs error
	for _, part := range []string{"images", "sums", "steps", "mounts"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, part))
		errs = errors.Join(errs, err)
		for _, e := range entries {
			path := filepath.Join(c.dir, part, e.Name())
			if e.IsDir() {
				errs = errors.Join(errs, c.remove(ctx, path))
			} else {
				errs = errors.Join(errs, os.Remove(path))
			}
		}
	}
	return errs
}

// named is what -t has named.
type named struct {
	Name   string
	Config json.RawMessage
	Layers []string // keys
}

// namePath is where a name is kept. One without a tag means "latest".
func (c *cache) namePath(name string) string {
	return filepath.Join(c.dir, "images", digestOf(strings.TrimSuffix(name, ":latest"))+".json")
}

func (c *cache) setName(n named) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.tmp, rand.Text())
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, c.namePath(n.Name))
}

// byName finds an image that -t has named; nil if there is none.
func (c *cache) byName(name string) (*image, error) {
	b, err := os.ReadFile(c.namePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var n named
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	img := new(image)
	if err := json.Unmarshal(n.Config, &img.config); err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	for _, key := range n.Layers {
		l, err := c.look(key)
		if err != nil {
			return nil, fmt.Errorf("image %s: a layer is not in the cache any more; build it again (%w)", name, err)
		}
		img.layers = append(img.layers, l)
	}
	return img, nil
}

// digestOf is a name for any values without pointers below the first level. The bytes of strings count, whatever they are.
func digestOf(values ...any) string {
	h := sha256.New()
	for _, v := range values {
		fmt.Fprintf(h, "%#v\n", v)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func short(s string) string { return cmp.Or(strings.TrimPrefix(s, "sha256:"), s)[:12] }
