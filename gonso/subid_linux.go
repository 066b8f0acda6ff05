package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// The files in which users and their ids are looked up. Tests replace them.
var (
	passwdFile = "/etc/passwd"
	loginDefs  = "/etc/login.defs"
	nsswitch   = "/etc/nsswitch.conf"
	subIDFiles = [2]string{"/etc/subuid", "/etc/subgid"}
)

// subIDMaps fills in the id maps of SubIDs and OnlySubIDs. The calling goroutine must stay on its
// thread until the tools were started. no_new_privs belongs to a thread, and a child inherits it
// from the thread that starts it.
func (o *unshareOptions) subIDMaps(ctx context.Context, spec *reexec.Creation, nested bool) error {
	if nested {
		return newError("unshare", User, "", errSubIDsInside)
	}
	ev, err := gatherSubIDs(ctx, o.subIDsAs, [2]bool{})
	if err != nil {
		return err
	}
	maps, err := ev.maps(os.Getpagesize())
	if err == nil {
		err = ev.checkUser()
	}
	if err != nil {
		return err
	}
	spec.UIDMap, spec.GIDMap = formatIDMaps(maps[0]), formatIDMaps(maps[1])
	if !ev.direct {
		spec.UIDMapTool, spec.GIDMapTool = ev.of[0].tool.path, ev.of[1].tool.path
	}
	return nil
}

// ownMapsByTool lets newuidmap and newgidmap write the maps of IDMaps that this process may not
// write itself. It checks the maps before anything is made. The calling goroutine must stay on its
// thread, as for subIDMaps.
func (o *unshareOptions) ownMapsByTool(ctx context.Context, spec *reexec.Creation, byTool [2]bool) error {
	if byTool == [2]bool{} {
		return nil
	}
	ev, err := gatherSubIDs(ctx, "IDMaps", [2]bool{!byTool[0], !byTool[1]})
	if err != nil {
		return err
	}
	lines := [2][]IDMap{o.uid, o.gid}
	for i := range lines {
		if byTool[i] {
			if lines[i], err = ev.ownLines(i, lines[i]); err != nil {
				return err
			}
		}
	}
	if err := ev.checkUser(); err != nil {
		return err
	}
	for i, to := range [2]struct{ maps, tool *string }{{&spec.UIDMap, &spec.UIDMapTool}, {&spec.GIDMap, &spec.GIDMapTool}} {
		if byTool[i] {
			*to.maps, *to.tool = formatIDMaps(lines[i]), ev.of[i].tool.path
		}
	}
	return nil
}

// byTool says which maps of IDMaps newuidmap and newgidmap have to write. These are the maps that
// need a capability, if this process lacks it: every map except one line with the process's own id
// (new_idmap_permitted in kernel/user_namespace.c). A launcher in another user namespace has all
// capabilities there.
func (o *unshareOptions) byTool(nested bool) (byTool [2]bool) {
	if !o.idMaps || nested {
		return byTool
	}
	own := [2]uint32{uint32(os.Geteuid()), uint32(os.Getegid())}
	for i, maps := range [2][]IDMap{o.uid, o.gid} {
		simple := len(maps) == 1 && maps[0].Size == 1 && maps[0].HostID == own[i]
		byTool[i] = !simple && !hasCapability(subIDKinds[i].capability)
	}
	return byTool
}

// gatherSubIDs looks at the tools, if they are needed, and then at the user and the ranges.
func gatherSubIDs(ctx context.Context, option string, untooled [2]bool) (*subIDEvidence, error) {
	ev, err := gatherSubIDTools(option, untooled)
	if err == nil {
		err = ev.checkTools()
	}
	if err == nil {
		err = ev.gatherRanges(ctx)
	}
	return ev, err
}

func gatherSubIDTools(option string, untooled [2]bool) (*subIDEvidence, error) {
	ev := &subIDEvidence{option: option, untooled: untooled}
	ev.direct = untooled == [2]bool{} && hasCapability(unix.CAP_SETUID) && hasCapability(unix.CAP_SETGID)
	ev.of[0].real, ev.of[0].effective = uint32(os.Getuid()), uint32(os.Geteuid())
	ev.of[1].real, ev.of[1].effective = uint32(os.Getgid()), uint32(os.Getegid())
	if ev.direct {
		return ev, nil
	}
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return nil, newError("prctl", 0, "", err)
	}
	ev.noNewPrivs = set != 0
	for i, k := range subIDKinds {
		ev.of[i].tool = lookAtTool(k.tool, k.capability)
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(k.capability), 0, 0, 0)
		ev.of[i].unbounded = err == nil && has == 0
	}
	return ev, nil
}

// lookAtTool finds a program, and the privileges that its file gives it.
func lookAtTool(name string, capability uint) idMapTool {
	var tool idMapTool
	if tool.path, tool.err = exec.LookPath(name); tool.err != nil {
		return tool
	}
	var st unix.Stat_t
	if err := unix.Stat(tool.path, &st); err != nil {
		tool.err = err
		return tool
	}
	if st.Mode&unix.S_ISUID != 0 {
		tool.setuid = st.Uid == 0
		if !tool.setuid {
			tool.unowned = new(core).gatherIDs(false).unownedFile(st.Uid)
		}
	}
	var attr [64]byte
	if n, err := unix.Getxattr(tool.path, "security.capability", attr[:]); err == nil {
		tool.capable = fileCapability(attr[:n], capability)
	}
	var mount unix.Statfs_t
	if err := unix.Statfs(tool.path, &mount); err == nil {
		tool.nosuid = mount.Flags&unix.ST_NOSUID != 0
	}
	return tool
}

// gatherRanges looks up the ranges of the real uid, because the tools use the real uid.
func (ev *subIDEvidence) gatherRanges(ctx context.Context) error {
	uid := strconv.Itoa(os.Getuid())
	user, err := lookUpUser(ctx, uid)
	if err != nil {
		return err
	}
	ev.subIDUser = user
	for i := range ev.of {
		ev.of[i].subIDSource = lookUpSubIDs(ctx, i, user.user, append(user.names, uid))
	}
	return nil
}

// lookUpUser gives the name of a uid, or its number if it has no name. It asks getent about users
// that are not in the file, because getent knows all sources. It does not use os/user: with a C
// compiler on the machine, every program that imports os/user is dynamically linked.
func lookUpUser(ctx context.Context, uid string) (subIDUser, error) {
	var u subIDUser
	b, err := os.ReadFile(passwdFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return u, newError("unshare", User, passwdFile, err)
	}
	content, asked := string(b), false
	if u.user = passwdName(content, uid); u.user == "" {
		if content, asked, err = askTool(ctx, "getent", "passwd", uid); err != nil {
			return u, newError("unshare", User, "", err).withHint(toolHint(err))
		}
		u.user = passwdName(content, uid)
	}
	u.names = passwdNames(content, uid)
	u.group, u.hasGroup = passwdGroup(content, uid)
	if u.user == "" {
		u.user, u.nameless = uid, asked
	}
	if b, err := os.ReadFile(loginDefs); err == nil {
		u.auxGroups = auxGroupsGranted(string(b))
	}
	return u, nil
}

// lookUpSubIDs reads the file. If there is another source, it asks getsubids first.
func lookUpSubIDs(ctx context.Context, kind int, name string, owners []string) subIDSource {
	s := subIDSource{path: subIDFiles[kind]}
	b, err := os.ReadFile(nsswitch)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.path, s.err = nsswitch, err
		return s
	}
	if !subIDsElsewhere(string(b)) {
		s.readFile(owners)
		return s
	}
	args := []string{name}
	if kind == 1 {
		args = []string{"-g", name}
	}
	out, _, err := askTool(ctx, "getsubids", args...)
	if err == nil {
		s.ranges, err = parseGetSubIDs(out)
	}
	if err != nil {
		s.path, s.err = "getsubids", err
		return s
	}
	if len(s.ranges) > 0 {
		return s
	}
	s.readFile(owners)
	return s
}

func (s *subIDSource) readFile(owners []string) {
	content, err := os.ReadFile(s.path)
	if err == nil {
		s.ranges, s.ignored, s.err = parseSubIDs(string(content), owners...)
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.err = err
	}
}

// askTool runs getent or getsubids and returns its output. out is "" if the program is missing or
// fails: both programs fail if they find nothing. asked says whether the program was run. It is an
// error if the program does not answer in time.
func askTool(ctx context.Context, name string, args ...string) (out string, asked bool, err error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", false, nil // it is one of several sources
	}
	// The user who started a program with more privileges has also chosen its PATH.
	if secure, err := sys.Secure(); secure || err != nil {
		return "", false, nil
	}
	out, err = reexec.RunTool(ctx, path, args...)
	if err != nil && ctx.Err() == nil {
		return "", true, nil
	}
	return out, true, err
}
