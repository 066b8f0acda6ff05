package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

var overlayInside builtin[struct{}, struct{}]

func registerOverlay() *Func[struct{}, struct{}] {
	return overlayInside.get("gonso.overlay", func(context.Context, struct{}) (struct{}, error) { return struct{}{}, mountOverlay() })
}

// probeOverlay mounts an overlay file system where nobody else sees it.
func probeOverlay(ctx context.Context) error {
	return inNew(User|Mount, func(s *Set) error {
		_, err := registerOverlay().Do(ctx, s, struct{}{}, InProcess())
		return err
	})
}

// mountOverlay mounts an overlay over the first directory that exists, with directories of a new
// tmpfs.
func mountOverlay() error {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var", "/usr"} {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			continue
		}
		inside := func(overlay bool) func(*evidence) {
			return func(ev *evidence) { ev.inside, ev.overlay = true, overlay }
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return refusedWith("mount", Mount, os.NewSyscallError("mount tmpfs", err), inside(false))
		}
		var errs []error
		for _, d := range []string{"lower", "upper", "work", "merged"} {
			errs = append(errs, os.Mkdir(filepath.Join(dir, d), 0o755))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
		if err := unix.Mount("overlay", dir+"/merged", "overlay", 0, options); err != nil {
			return refusedWith("mount", Mount, os.NewSyscallError("mount overlay", err), inside(true))
		}
		return nil
	}
	return fmt.Errorf("there is no directory to mount on: %w", os.ErrNotExist)
}

// probePing makes a socket for ICMP echo requests in the program's own net namespace.
func probePing(ctx context.Context) error {
	f, err := new(Set).Socket(ctx, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	return f.Close()
}

// probeFacts reads the facts that decide about namespaces, by the functions that hints use.
func probeFacts(ctx context.Context) (facts []Fact) {
	add := func(name, value string) {
		if value = strings.Join(strings.Fields(value), " "); value != "" {
			facts = append(facts, Fact{name, value})
		}
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		add("kernel", unix.ByteSliceToString(uts.Release[:]))
	}
	add("uid", fmt.Sprintf("%d, effective %d", os.Getuid(), os.Geteuid()))
	if p, err := sys.ThreadPrivileges(); err == nil {
		add("capabilities", fmt.Sprintf("effective %#x, permitted %#x, bounding %#x", p.Caps.Effective, p.Caps.Permitted, p.Bounding))
		add("no_new_privs", strconv.Itoa(p.NoNewPrivs))
	}
	addBool := func(name string, is bool) { add(name, map[bool]string{true: "yes", false: "no"}[is]) }
	addBool("seccomp filter", filtered())
	mounts, merr := threadMounts()
	addBool("chroot", merr == nil && rootIsNone(mounts) || rootElsewhere())
	for _, name := range []string{"uid_map", "gid_map", "setgroups", "attr/current"} {
		if text, err := procfs.ReadFile("thread-self/"+name, maxEvidence); err == nil {
			add("/proc/self/"+name, strings.ReplaceAll(strings.TrimSpace(strings.Trim(text, "\x00")), "\n", ", ")) // path: a name of a fact
		}
	}
	limits := namespaceLimits(AllTypes)
	for _, t := range singles(AllTypes) {
		if n, ok := limits[t]; ok {
			add(fmt.Sprintf("user.max_%v_namespaces", t), strconv.FormatInt(n, 10))
		}
	}
	for _, name := range []string{
		"kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns", "vm/memfd_noexec", pingGroups,
	} {
		if text, err := procfs.ReadFile("sys/"+name, maxEvidence); err == nil {
			add(strings.ReplaceAll(name, "/", "."), text)
		}
	}
	for _, k := range subIDKinds {
		add(k.tool, lookAtTool(k.tool, k.capability).String())
	}
	ev := new(subIDEvidence)
	if err := ev.gatherRanges(ctx); err != nil {
		add("subordinate ids", err.Error())
	} else {
		for i, k := range subIDKinds {
			add("subordinate "+k.what+"s", ev.of[i].String())
		}
	}
	add("cgroup", cgroupVersion())
	add("/proc", procOptions(mounts, merr)) // path: a name of a fact
	add("linked", linking())
	return facts
}

// String says where the tool is, and which privileges its file gives.
func (t idMapTool) String() string {
	switch {
	case t.err != nil:
		return reexec.Clause(t.err)
	case t.nosuid:
		return t.path + ", on a file system mounted nosuid"
	case t.setuid:
		return t.path + ", setuid root"
	case t.capable:
		return t.path + ", with a file capability"
	case t.unowned != "":
		return t.path + ", whose setuid bit the kernel ignores: " + t.unowned
	}
	return t.path + ", without privileges"
}

// String is the ranges and their source.
func (s subIDSource) String() string {
	if s.err != nil {
		return s.path + ": " + reexec.Clause(s.err)
	}
	var ranges []string
	for _, r := range s.ranges {
		ranges = append(ranges, fmt.Sprintf("%d:%d", r.first, r.count))
	}
	if len(ranges) == 0 {
		ranges = []string{"none"}
	}
	return strings.Join(ranges, ", ") + " (" + s.path + ")"
}

func cgroupVersion() string {
	const root = "/sys/fs/cgroup"
	var fsys unix.Statfs_t
	switch err := unix.Statfs(root, &fsys); {
	case err != nil:
		return "none at " + root
	case int64(fsys.Type) == unix.CGROUP2_SUPER_MAGIC:
		return "2"
	}
	if _, err := os.Stat(root + "/unified/cgroup.controllers"); err == nil {
		return "1, and 2 at " + root + "/unified"
	}
	return "1"
}

// procOptions says to which pid namespace /proc belongs, and what is hidden in it.
func procOptions(mounts []mountLine, err error) string {
	if err != nil {
		return reexec.Clause(err)
	}
	if err := procfs.Executable(); err != nil {
		return reexec.Clause(err)
	}
	said := "this program's"
	for _, name := range []string{"hidepid", "subset", "gid"} {
		if option := procOption(mounts, name); option != "" {
			said += ", " + option
		}
	}
	return said
}

// linking says how this program is linked. If it is dynamically linked, somebody else's mount
// namespace may have no loader for it.
func linking() string {
	if reexec.Dynamic() {
		return "dynamically"
	}
	return "statically"
}
