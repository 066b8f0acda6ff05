package gonso

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// createTimeout bounds the making of namespaces. This should take a millisecond, and some more with
// programs that look up and map subordinate ids.
const createTimeout = 10 * time.Second

var errCreateSlow = sys.Wrap("it took longer than "+createTimeout.String(), context.DeadlineExceeded)

// createContext has that bound. Tests replace it to end the time themselves.
var createContext = func() (context.Context, context.CancelFunc) {
	return sys.WithTimeout(context.Background(), createTimeout, errCreateSlow)
}

func (c *core) unshare(types Type, o *unshareOptions) (*core, error) {
	p := planUnshare(c.facts(), types, o.shown(), o.hostFiles)
	if p.err != nil {
		return nil, p.err
	}
	// The kernel makes no user namespace in a chroot (EPERM, unshare(2)).
	o.bringRoot = types&(Mount|User) == Mount && p.join&Mount == 0 && rootElsewhere()
	switch {
	case p.backend == ThreadBackend:
		return c.unshareOnThread(types, p.join, o)
	case o.bringRoot:
		return c.unshareInChroot(types, p.join, o)
	}
	return c.create(types, p.join, o)
}

func (o *unshareOptions) mountFlags() uintptr {
	p := PropagationSlave
	if o.propagation != nil {
		p = *o.propagation
	}
	switch p {
	case PropagationPrivate:
		return unix.MS_REC | unix.MS_PRIVATE
	case PropagationShared:
		return unix.MS_REC | unix.MS_SHARED
	case PropagationUnchanged:
		return 0
	}
	return unix.MS_REC | unix.MS_SLAVE
}

// mount mounts the file system on the calling thread. A mount that is there already becomes private
// first: it may be shared with the mount namespace from which this one was copied.
func (m freshMount) mount() error {
	err := unix.Mount("none", m.dir, "", unix.MS_REC|unix.MS_PRIVATE, "")
	fresh := err == nil || err == unix.EINVAL // EINVAL: no mount was there
	if fresh {
		err = unix.Mount(m.fs, m.dir, m.fs, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err != nil && err != unix.EBUSY { // the very same is there already, which only a sysfs can be (do_add_mount)
		e := refusedWith("mount", Mount, err, func(ev *evidence) { ev.fresh = fresh })
		e.Path = m.dir
		return e
	}
	return nil
}

func (c *core) unshareOnThread(types, base Type, o *unshareOptions) (*core, error) {
	var made *core
	err := c.runOnThread(context.Background(), threadOrder(base), func(r *threadRun) bool {
		holdHome(types)
		r.entered |= types
		if err := unix.Unshare(int(types)); err != nil {
			r.err = refused("unshare", types, err)
			// No namespace was made: unshare(2) makes all of them or fails.
			r.entered &^= types &^ base
			return true
		}
		switch flags := o.mountFlags(); {
		case types&Mount != 0 && o.bringRoot:
			if err := bringRoot(flags); err != nil {
				r.err = refused("bring the root to", Mount, err)
				return false
			}
		case types&Mount != 0 && flags != 0:
			if err := unix.Mount("", "/", "", flags, ""); err != nil {
				r.err = refused("set propagation of", Mount, err)
				return false
			}
		}
		for _, m := range o.fresh {
			if r.err = m.mount(); r.err != nil {
				return false
			}
		}
		if o.loopbackUp {
			if r.err = setLoopbackUp(); r.err != nil {
				return true
			}
		}
		made, r.err = openThread("open", types, false, c.exposes(base), nsfs.OpenProc)
		return true
	}, func() {
		if made != nil {
			made.release()
		}
	})
	if errors.Is(err, sys.ErrLeftBehind) {
		return nil, err
	}
	if err != nil && made != nil { // it went wrong on the way home
		made.release()
		made = nil
	}
	if made != nil {
		made.copied = c.copies(types, base)
	}
	return made, err
}

// copies reports whether the new mount namespace shows this program's files.
func (c *core) copies(types, base Type) bool {
	return types&Mount != 0 && (base&Mount == 0 || c.copied)
}

func (c *core) create(types, base Type, o *unshareOptions) (*core, error) {
	if err := c.intact("unshare"); err != nil {
		return nil, err
	}
	exposed := c.exposes(base)
	spec := &reexec.Creation{
		Unshare: uint32(types), Join: c.joins(base), Protect: exposed, LoopbackUp: o.loopbackUp,
		AtHome: func() error { return c.checkHome("unshare", o.takesFrom(types)) },
	}
	for _, m := range o.fresh {
		spec.Fresh = append(spec.Fresh, reexec.Fresh{FS: m.fs, Dir: m.dir})
	}
	if types&Mount != 0 {
		spec.Propagation = o.mountFlags()
	}
	if o.clockOffsets != nil {
		spec.ClockOffsets = o.clockOffsets.format()
	}
	ctx, cancel := createContext()
	defer cancel()
	if o.subIDs || o.idMaps {
		runtime.LockOSThread() // subIDMaps says why
		defer runtime.UnlockOSThread()
	}
	if types&User != 0 {
		nested := base&User != 0
		if err := c.refuseSetgroups(o, nested); err != nil {
			return nil, err
		}
		if err := o.refuseOwner(nested); err != nil {
			return nil, err
		}
		if !nested && o.ownerUID != nil && *o.ownerUID != uint32(os.Geteuid()) || nested {
			spec.OwnerUID = o.ownerUID
		}
		if err := o.maps(ctx, spec, nested); err != nil {
			return nil, err
		}
	}
	from, err := reexec.Create(ctx, spec)
	if err != nil {
		return nil, c.creationError(types, base, spec, o, err)
	}
	made := newCore()
	made.copied = c.copies(types, base)
	for i, t := range singles(types) {
		ns, err := nsfs.OwnAs(from.Files[i], uint32(t))
		if err != nil {
			from.Close()
			made.release()
			return nil, newError("open", t, from.Files[i].Name(), err)
		}
		if t == PID {
			ns.Keep(c.keepAlive(from.Reaper, base))
			made.reaper, from.Reaper = from.Reaper, nil
		}
		made.add(t, ns, exposed)
	}
	return made.ready(), nil
}

// takesFrom returns the types in which the thread that makes new namespaces must be at home. New
// namespaces may take values from the thread's (host name, clock offsets, sysctls), and are below
// its pid namespace. A file system that is mounted shows the thread's other namespaces. The user
// namespace does not matter: all threads of a program are in the same one, because the kernel lets
// no single thread leave it.
func (o *unshareOptions) takesFrom(types Type) Type {
	if len(o.fresh) > 0 {
		return AllTypes
	}
	return (types | PID) &^ User
}

// keepAlive holds the parent of a new pid namespace, because the new one would die with its parent.
// The function that it returns ends the new one and releases the parent.
func (c *core) keepAlive(reaper *reexec.Reaper, base Type) (letGo func()) {
	if base&PID == 0 {
		return func() { reaper.Close() }
	}
	outer := c.ns[PID.index()].Retain()
	return func() {
		reaper.Close()
		outer.Release()
	}
}

// maps fills in the id maps and whether setgroups is denied. In a nested user namespace, the helper
// is root of the outer one: its ids are 0, and it has all capabilities there.
func (o *unshareOptions) maps(ctx context.Context, spec *reexec.Creation, nested bool) error {
	if o.noIDMaps {
		spec.DenySetgroups = o.setgroups != nil && !*o.setgroups
		return nil
	}
	uid, gid := o.uid, o.gid
	if !o.idMaps && !o.subIDs {
		var u, g uint32
		if !nested {
			u, g = uint32(os.Geteuid()), uint32(os.Getegid())
		}
		uid, gid = []IDMap{{0, u, 1}}, []IDMap{{0, g, 1}}
	}
	spec.UIDMap, spec.GIDMap = formatIDMaps(uid), formatIDMaps(gid)
	if o.subIDs {
		if err := o.subIDMaps(ctx, spec, nested); err != nil {
			return err
		}
	}
	byTool := o.byTool(nested)
	if err := o.ownMapsByTool(ctx, spec, byTool); err != nil {
		return err
	}
	switch {
	case o.setgroups != nil:
		spec.DenySetgroups = !*o.setgroups
	case !nested && !o.subIDs && !byTool[1]:
		spec.DenySetgroups = !hasCapability(unix.CAP_SETGID)
	}
	return nil
}

// exposing are the types in which somebody else inside can reach a process of this program: by
// tracing it, through its /proc, or through the files that it executes.
const exposing = User | PID | Mount

// exposes reports whether somebody else may be root in the given namespaces of the Set, or may have
// chosen the files there. This is so for namespaces that were opened, and for all that were made
// from them.
func (c *core) exposes(types Type) bool { return c.opened&types&exposing != 0 }

// foreignRoot reports whether somebody else has filled the mnt namespace.
func (c *core) foreignRoot() bool { return c.opened&Mount != 0 }

// joins lists the steps to join some of the Set's namespaces, with their descriptors.
func (c *core) joins(types Type) []reexec.Join {
	f := *c.facts()
	f.foreign &= types
	order := processOrder(&f)
	js := make([]reexec.Join, len(order))
	for i, j := range order {
		ns := c.ns[j.typ.index()]
		if j.typ == User {
			ns = c.users[j.level-1]
		}
		js[i] = reexec.Join{Type: uint32(j.typ), File: ns.File(), MayFail: j.mayFail, Again: j.again}
	}
	return js
}

// hasCapability reports whether the calling thread has a capability in its effective set.
func hasCapability(capability uint) bool {
	caps, err := sys.ThreadCaps()
	return err == nil && caps.Effective.Has(capability)
}
