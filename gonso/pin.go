package gonso

import (
	"errors"
	"fmt"
	"io/fs"
)

// Pin keeps the Set's namespaces under names in a directory, including the ones that are home. Each
// is bind-mounted on a file with its name in /proc/PID/ns. [FromDir] opens them again, in this
// program or any other.
//
// Pin makes the files, and the directory, but not its parents. A file that exists must be plain and
// empty: a Pin before the last boot, or a Pin that was killed, has left such files. Anything else
// there, such as a pinned namespace, is an error that matches [fs.ErrExist], and is left as it is.
// A Pin that fails leaves nothing behind.
//
// Pinned namespaces outlive the Set and the program. They last until [Unpin], or until the end of
// the mount namespace in which they are pinned. This is the mount namespace of the calling thread:
// the program's own, or the Set's in a closure that runs in a Set with a mnt namespace. A pid
// namespace is dead after its init has ended, even if it is pinned.
//
// It needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace, and permission to
// make the files. A mnt namespace can be pinned only in an older mnt namespace, so never in itself,
// and only on a mount that is not shared. The Hint of the error says so.
func (s *Set) Pin(dir string) error {
	c, err := s.acquire("pin")
	if err != nil {
		return err
	}
	defer c.release()
	if c.types == 0 {
		return newError("pin", 0, dir, errNothingToPin)
	}
	return c.pin(dir)
}

// PinNS is [Set.Pin] for one namespace and a file of any name, which [Open]
// opens. The directory has to be there.
func (s *Set) PinNS(t Type, path string) error {
	c, err := s.acquireOne("pin", t)
	if err != nil {
		return err
	}
	defer c.release()
	return c.pinOne(t, path)
}

var errNothingToPin = errors.New("the Set has no namespaces")

// Unpin undoes [Set.Pin] and [Set.PinNS], whichever program did it. Each path is a file on which a
// namespace is mounted, or a directory with such files that are named like types. Unpin unmounts
// them in the mount namespace of the calling thread. It removes the files, if they are plain and
// empty, and the directory, if it is empty. Namespaces in use stay usable, and so do Sets that were
// opened from there.
//
// The first "ip netns add" mounts /run/netns on itself. Namespaces that were pinned there before,
// below that mount, are unpinned as well, in every mnt namespace.
//
// A path that is not pinned any more is not an error: Unpin can be called again, and after a
// reboot. If the path does not exist, Unpin does nothing. A plain empty file without a mount is
// removed: it is left when another program unmounts the namespace. This is so on the file systems
// on which [Set.OpenFile] opens files. If a namespace is pinned on the file in another mnt
// namespace, it is unpinned there, too, as by rm(1) (vfs_unlink in fs/namei.c).
//
// For a path with anything else the error matches [ErrNotNamespace], and the path is left as it is.
// The same holds for a directory in which no file is named like a type. The other paths are
// unpinned. Unmounting needs CAP_SYS_ADMIN, as Pin does; removing an empty file needs permission to
// write to its directory.
func Unpin(paths ...string) error {
	if len(paths) == 0 {
		return newError("unpin", 0, "", errNoFiles)
	}
	var errs []error
	for _, p := range paths {
		if err := unpin(p); err != nil {
			errs = append(errs, err)
		}
	}
	return joined(errs)
}

// joined is errors.Join, but returns a single error unchanged.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// spotKind is the kind of file that was found at the place for a pin.
type spotKind uint8

const (
	spotMissing spotKind = iota
	spotEmpty            // a plain file without content
	spotFilled
	spotPinned
	spotDirectory
	spotSymlink
	spotOther
)

var spotText = [...]string{
	spotFilled:    "a file that is not empty",
	spotPinned:    "a pinned namespace",
	spotDirectory: "a directory",
	spotSymlink:   "a symbolic link",
	spotOther:     "neither a file nor a directory, but something special",
}

// pinSpot is the place where a namespace will be pinned.
type pinSpot struct {
	typ  Type
	path string // for errors
	kind spotKind
}

// pinAct is a change that can be undone.
type pinAct uint8

const (
	makeDir pinAct = iota
	makeFile
	attach
)

// pinStep is one change, at the spot with that index.
type pinStep struct {
	act  pinAct
	spot int
}

// planPin gives the steps of Pin. If a step fails, the steps before it are undone in the reverse
// order. All files are made before the first mount, so that other programs see some namespaces
// pinned without the others only for a short time. The mount of mnt is the first one, because the
// kernel has the most reasons to refuse it.
func planPin(dirMissing bool, spots []pinSpot) ([]pinStep, error) {
	var steps, mounts []pinStep
	if dirMissing {
		steps = append(steps, pinStep{act: makeDir})
	}
	for i, p := range spots {
		switch p.kind {
		case spotMissing:
			steps = append(steps, pinStep{makeFile, i})
		case spotEmpty:
		default:
			e := newError("pin", p.typ, p.path, fmt.Errorf("what is there is %s: %w", spotText[p.kind], fs.ErrExist))
			if p.kind == spotPinned {
				e.Hint = "gonso.Unpin takes it away"
			}
			return nil, e
		}
		if m := (pinStep{attach, i}); p.typ == Mount {
			mounts = append([]pinStep{m}, mounts...)
		} else {
			mounts = append(mounts, m)
		}
	}
	return append(steps, mounts...), nil
}
