package gonso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/gonso/gonso/internal/sys"
)

// SubIDs gives a new user namespace all ids that the caller has, as rootless container tools do. Id
// 0 inside is the caller's own effective uid and gid. Ids from 1 on are its subordinate ids, of all
// of its ranges, one after the other. An outside id that comes twice is mapped once. Ids beyond the
// kernel's limits for a map are left out: see [IDMaps].
//
// The ranges are in /etc/subuid and /etc/subgid, by the names or the number of the real uid. Lines
// that are not NAME:FIRST:COUNT are ignored, as by the tools of shadow. If /etc/nsswitch.conf names
// another source for subid than files, getsubids(1) is asked first, because it knows that source.
// It is run twice, for uids and for gids. A program with more privileges than the user who started
// it reads only the files.
//
// A caller with CAP_SETUID and CAP_SETGID writes the maps itself. It needs ranges, too. Every other
// caller needs no privilege, but the programs newuidmap and newgidmap in PATH (package uidmap, on
// some systems shadow-utils). They are privileged and write the maps. So setgroups(2) stays allowed
// inside. Setgroups(false) denies it.
//
// Unshare refuses SubIDs in these cases, before it makes anything:
//
//   - A program does not exist. The error matches exec.ErrNotFound.
//   - A program would get no privileges. The error matches [os.ErrPermission]. The program is
//     neither setuid root nor has the file capability, or its file system is mounted nosuid. Or
//     no_new_privs is set on the calling thread, from which the program would be started.
//   - The user has no name, or another group than its primary one, as after newgrp(1). The error
//     matches [os.ErrPermission].
//   - The user has no ranges. The error matches [ErrNoSubIDs].
//
// If a program refuses, or has to be killed because it does not end, the error names it and has its
// output. SubIDs needs no newer kernel than the package.
//
// SubIDs excludes [IDMaps] and [NoIDMaps]. Set.Unshare refuses it in a Set with a user namespace
// that is not this process's own, because the ranges mean nothing there.
func SubIDs() UnshareOption {
	return func(o *unshareOptions) { o.subIDs, o.subIDsAs = true, "SubIDs" }
}

// OnlySubIDs gives a new user namespace the subordinate ids of the caller, and not the caller's own
// id. Id 0 inside is the first subordinate id. So root inside does not own the caller's files
// outside, and cannot send signals to the caller's processes outside. If the caller is root, root
// inside is not the host's root, as it would be with [SubIDs].
//
// All else is as with [SubIDs], and OnlySubIDs excludes the same options.
func OnlySubIDs() UnshareOption {
	return func(o *unshareOptions) { o.subIDs, o.subIDsAs = true, onlySubIDs }
}

const onlySubIDs = "OnlySubIDs"

// This file reads the texts that say which ids a user has, and decides which maps they give. It is
// pure: subid_linux.go gathers the evidence.

// subIDRange is a range of a user's ids: count ids, starting with first.
type subIDRange struct{ first, count uint32 }

// pastLastID is (uid_t) -1, which is never a valid id.
const pastLastID = 1<<32 - 1

func newSubIDRange(first, count uint64) (subIDRange, error) {
	if first >= pastLastID || count > pastLastID-first {
		return subIDRange{}, fmt.Errorf("%d ids starting with %d run past the last id, %d: %w", count, first, uint32(pastLastID-1), os.ErrInvalid)
	}
	return subIDRange{uint32(first), uint32(count)}, nil
}

// parseSubIDs gives the ranges of a user in a file like /etc/subuid. owners are the names of the
// user, who may have several, and the uid. The uid also stands in the file for gids. Lines that are
// not valid are ignored, as shadow's tools do. ignored is the first of these lines that seems to be
// about the user, counted from 1.
func parseSubIDs(content string, owners ...string) (ranges []subIDRange, ignored int, err error) {
	number := 0
	for line := range strings.Lines(content) {
		number++
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if f[0] == "" || !slices.Contains(owners, f[0]) {
			continue
		}
		first, count, ok := parseFields(f)
		if !ok || count == 0 {
			if ignored == 0 {
				ignored = number
			}
			continue
		}
		r, err := newSubIDRange(first, count)
		if err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", number, err)
		}
		ranges = append(ranges, r)
	}
	return ranges, ignored, nil
}

// subIDsElsewhere reports whether a file like /etc/nsswitch.conf names another source of
// subordinate ids than the files. As in nss_init of shadow's lib/nss.c, only the first line about
// subordinate ids counts, and only its first word.
func subIDsElsewhere(content string) bool {
	for line := range strings.Lines(content) {
		const key = "subid:"
		if len(line) < len(key) || !strings.EqualFold(line[:len(key)], key) {
			continue
		}
		if f := strings.Fields(line[len(key):]); len(f) > 0 {
			return f[0] != "files"
		}
	}
	return false
}

// parseFields reads NAME:FIRST:COUNT. It ignores further fields, as shadow does.
func parseFields(f []string) (first, count uint64, ok bool) {
	if len(f) < 3 {
		return 0, 0, false
	}
	first, firstOK := parseSubID(f[1])
	count, countOK := parseSubID(f[2])
	return first, count, firstOK && countOK
}

// parseSubID reads a number as shadow's tools do, by strtoul(3) with base 0.
func parseSubID(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		s, base = s[2:], 16
	case strings.HasPrefix(s, "0") && len(s) > 1:
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

// parseGetSubIDs gives the ranges that getsubids printed, in lines like "0: NAME 100000 65536". An
// invalid line is an error here, because getsubids has read its source itself. A name may have
// blanks.
func parseGetSubIDs(out string) ([]subIDRange, error) {
	var ranges []subIDRange
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 4 || !strings.HasSuffix(f[0], ":") {
			return nil, notARange(line)
		}
		first, ferr := strconv.ParseUint(f[len(f)-2], 10, 64)
		count, cerr := strconv.ParseUint(f[len(f)-1], 10, 64)
		if ferr != nil || cerr != nil {
			return nil, notARange(line)
		}
		r, err := newSubIDRange(first, count)
		if err != nil {
			return nil, err
		}
		if count > 0 {
			ranges = append(ranges, r)
		}
	}
	return ranges, nil
}

func notARange(line string) error {
	return fmt.Errorf("it printed %.100q, which is not a range of ids: %w", line, os.ErrInvalid)
}

// passwdName gives the name of a uid in lines like the ones of /etc/passwd, or "".
func passwdName(content, uid string) string {
	if names := passwdNames(content, uid); len(names) > 0 {
		return names[0]
	}
	return ""
}

// passwdNames gives all names of a uid. The first one is the user's usual name. The tools take the
// ranges of the other names, too (find_range in shadow's lib/subordinateio.c).
func passwdNames(content, uid string) (names []string) {
	for line := range strings.Lines(content) {
		if f := strings.SplitN(line, ":", 4); len(f) == 4 && f[2] == uid {
			names = append(names, f[0])
		}
	}
	return names
}

// passwdGroup gives the primary group of a uid in lines like the ones of /etc/passwd.
func passwdGroup(content, uid string) (gid uint32, ok bool) {
	for line := range strings.Lines(content) {
		if f := strings.SplitN(line, ":", 5); len(f) == 5 && f[2] == uid {
			n, err := strconv.ParseUint(f[3], 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// auxGroupsGranted reports whether a file like /etc/login.defs lets newuidmap work for a caller
// with another group than the user's primary one.
func auxGroupsGranted(content string) (granted bool) {
	for line := range strings.Lines(content) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "GRANT_AUX_GROUP_SUBIDS" {
			granted = strings.EqualFold(strings.Trim(f[1], `"`), "yes")
		}
	}
	return granted
}

// subIDMap maps id 0 to own, and the ids from 1 on to the ranges.
func subIDMap(own uint32, ranges []subIDRange, pageSize int) []IDMap {
	return addRanges([]IDMap{{0, own, 1}}, ranges, pageSize)
}

// addRanges adds lines for the ranges to maps, up to the kernel's limits. maps has one line for id
// 0 or is empty. Ids that are mapped already are left out, because the kernel refuses lines that
// overlap.
func addRanges(maps []IDMap, ranges []subIDRange, pageSize int) []IDMap {
	size := len(formatIDMaps(maps))
	inside := uint32(len(maps))
	for _, r := range ranges {
		for _, piece := range r.without(maps) {
			m := IDMap{inside, piece.first, piece.count}
			size += len(formatIDMaps([]IDMap{m}))
			if len(maps) == maxIDMapLines || size >= pageSize {
				return maps
			}
			maps = append(maps, m)
			inside += m.Size
		}
	}
	return maps
}

// without gives the parts of r that are not among the outside ids of maps, in order.
func (r subIDRange) without(maps []IDMap) []subIDRange {
	rest := []subIDRange{r}
	for _, m := range maps {
		var next []subIDRange
		for _, r := range rest {
			if !overlap(r.first, m.HostID, r.count, m.Size) {
				next = append(next, r)
				continue
			}
			if r.first < m.HostID {
				next = append(next, subIDRange{r.first, m.HostID - r.first})
			}
			// Neither sum is more than pastLastID.
			if end, mapped := r.first+r.count, m.HostID+m.Size; end > mapped {
				next = append(next, subIDRange{mapped, end - mapped})
			}
		}
		rest = next
	}
	return rest
}

// toolLines splits the lines of a map that the caller has given, so that newuidmap and newgidmap
// take them (verify_range in their sources). Each line then lies in the user's ranges, one after
// another, or is the user's own id alone. left are the ids of line number at that fit neither.
func toolLines(maps []IDMap, own uint32, ranges []subIDRange) (lines []IDMap, at int, left []subIDRange) {
	var given []IDMap
	for _, r := range ranges {
		given = append(given, IDMap{HostID: r.first, Size: r.count})
	}
	for i, m := range maps {
		whole := subIDRange{m.HostID, m.Size}
		if len(whole.without(given)) == 0 || m.HostID == own && m.Size == 1 {
			lines = append(lines, m)
			continue
		}
		self := IDMap{HostID: own, Size: 1}
		if left = whole.without(append(given[:len(given):len(given)], self)); len(left) > 0 {
			return nil, i, left
		}
		piece := func(first, end uint32) {
			if first < end {
				lines = append(lines, IDMap{m.ContainerID + (first - m.HostID), first, end - first})
			}
		}
		piece(m.HostID, own)
		piece(own, own+1)
		piece(own+1, m.HostID+m.Size)
	}
	return lines, 0, nil
}

// ownLines are the lines for the tool, of a map that the caller has given. The error says which ids
// the tool may not map.
func (ev *subIDEvidence) ownLines(i int, maps []IDMap) ([]IDMap, error) {
	k, of := subIDKinds[i], ev.of[i]
	if of.err != nil {
		return nil, newError("unshare", User, "", about(ev.option, fmt.Errorf("%s map: %s: %w", k.what, of.path, of.err)))
	}
	lines, at, left := toolLines(maps, of.effective, of.ranges)
	if len(left) == 0 {
		return lines, nil
	}
	ids := fmt.Sprintf("%s %d is", k.what, left[0].first)
	if left[0].count > 1 {
		ids = fmt.Sprintf("%ss %d-%d are", k.what, left[0].first, left[0].first+(left[0].count-1))
	}
	refused := error(syscall.EPERM)
	has := "it has none there"
	if len(of.ranges) == 0 {
		refused = fmt.Errorf("%w, %w", ErrNoSubIDs, refused)
	} else {
		var given []IDMap
		for _, r := range of.ranges {
			given = append(given, IDMap{ContainerID: r.first, Size: r.count})
		}
		has = spans(given)
	}
	return nil, newError("unshare", User, "", about(ev.option, fmt.Errorf("%s: %s neither in the ranges of user %s in %s (%s) nor its own %s, %d: %w",
		lineOf(k.what, at, maps[at]), ids, ev.user, of.path, has, k.what, of.effective, refused))).
		withHint(fmt.Sprintf("%s map: without CAP_SET%s this process can map only those and its own effective %s, %d, as SubIDs does; %s",
			k.what, strings.ToUpper(k.what), k.what, of.effective, ev.addRange(i)))
}

// subIDKinds are the two halves of everything here.
var subIDKinds = [2]struct {
	what, tool, option string
	capability         uint // that the tool needs
}{
	{"uid", "newuidmap", "--add-subuids", 7}, // CAP_SETUID
	{"gid", "newgidmap", "--add-subgids", 6}, // CAP_SETGID
}

// subIDEvidence has the facts that decide whether and how subordinate ids can be mapped.
type subIDEvidence struct {
	option     string  // the one that the caller has passed
	direct     bool    // the caller may write both maps itself
	untooled   [2]bool // the caller may write this map itself
	noNewPrivs bool    // of the thread that starts the tools
	subIDUser
	of [2]struct {
		real, effective uint32
		tool            idMapTool
		unbounded       bool // the bounding set of that thread lacks the capability that the tool needs
		subIDSource
	}
}

// subIDUser is the user for whom the tools look up ranges.
type subIDUser struct {
	user      string   // name, or number
	names     []string // all names
	nameless  bool     // no source of users has the uid
	group     uint32   // primary
	hasGroup  bool     // group is known
	auxGroups bool     // the tools work for other groups, too
}

// idMapTool is newuidmap or newgidmap.
type idMapTool struct {
	path    string
	err     error  // it was not found
	setuid  bool   // setuid root
	capable bool   // has its capability as a file capability
	nosuid  bool   // on a file system mounted nosuid
	unowned string // why the kernel ignores its setuid bit in this process's user namespace, or ""
}

// subIDSource is a source of ranges.
type subIDSource struct {
	path    string // of the file
	ranges  []subIDRange
	ignored int // the line of the file that was ignored, or 0
	err     error
}

// checkTools says why the tools cannot be used.
func (ev *subIDEvidence) checkTools() error {
	if ev.direct {
		return nil
	}
	for i, of := range ev.of {
		if ev.untooled[i] {
			continue
		}
		k, tool := subIDKinds[i], of.tool
		refusal := func(err error, format string, args ...any) error {
			path := tool.path
			if path == "" {
				path = k.tool
			}
			return newError("unshare", User, path, err).withHint(fmt.Sprintf(format, args...))
		}
		switch {
		case tool.err != nil:
			return refusal(tool.err, "%s needs it for a caller without CAP_SETUID and CAP_SETGID; it is in the package uidmap, or shadow-utils", ev.option)
		case !tool.setuid && !tool.capable && tool.unowned != "":
			return refusal(syscall.EPERM, "the kernel ignores its setuid bit here: %s; outside of that user namespace it has its privileges", tool.unowned)
		case !tool.setuid && !tool.capable:
			return refusal(syscall.EPERM, "it is neither setuid root nor has the file capability cap_set%s; setcap cap_set%[1]s+ep gives it that, or its package put back", k.what)
		case tool.nosuid:
			return refusal(syscall.EPERM, "it is on a file system mounted nosuid, where it gets no privileges; mount -o remount,suid gives it some")
		case ev.noNewPrivs:
			return refusal(syscall.EPERM, "no_new_privs is set on this thread, so that setuid programs and file capabilities get no privileges; "+
				"who starts it can leave that out (NoNewPrivileges= of systemd; docker run --security-opt no-new-privileges; securityContext.allowPrivilegeEscalation)")
		case of.unbounded:
			return refusal(syscall.EPERM, "the bounding set of this process lacks CAP_SET%s, and so whatever it executes%s", strings.ToUpper(k.what), giveCapability)
		case of.real != of.effective:
			return refusal(syscall.EPERM, "it goes by the real %s, %d, and would not map the effective one, %d", k.what, of.real, of.effective)
		}
	}
	return nil
}

// checkUser says why the tools would not work for the user, by the rules of newuidmap.c and
// newgidmap.c.
func (ev *subIDEvidence) checkUser() error {
	if ev.direct {
		return nil
	}
	first := 0
	if ev.untooled[0] {
		first = 1
	}
	k, of := subIDKinds[first], ev.of[1]
	refusal := func(format string, args ...any) error {
		return newError("unshare", User, ev.of[first].tool.path, syscall.EPERM).withHint(k.tool + " " + fmt.Sprintf(format, args...))
	}
	switch {
	case ev.nameless:
		return refusal("serves users with a name alone, and neither /etc/passwd nor getent has one for uid %s", ev.user)
	case ev.hasGroup && !ev.auxGroups && of.real != ev.group:
		return refusal("serves user %s with the primary group alone, %d, and this process has the gid %d, as after newgrp(1): "+
			"start it with the primary group, or set GRANT_AUX_GROUP_SUBIDS in /etc/login.defs", ev.user, ev.group, of.real)
	}
	return nil
}

// maps makes the id maps of the ranges that were found.
func (ev *subIDEvidence) maps(pageSize int) (maps [2][]IDMap, err error) {
	for i, of := range ev.of {
		if of.err != nil {
			return maps, newError("unshare", User, of.path, of.err).withHint(toolHint(of.err))
		}
		if len(of.ranges) == 0 {
			return maps, ev.noRanges(i)
		}
		if ev.option == onlySubIDs {
			maps[i] = addRanges(nil, of.ranges, pageSize)
		} else {
			maps[i] = subIDMap(of.effective, of.ranges, pageSize)
		}
	}
	return maps, nil
}

// toolHint is for a tool that was killed because it did not end in time.
func toolHint(err error) string {
	if !errors.Is(err, context.DeadlineExceeded) {
		return ""
	}
	return "possibly it asks a source of users that does not answer: those are the lines passwd and subid of /etc/nsswitch.conf; " +
		"IDMaps with one's own ids alone, as there are without it, takes no tool"
}

func (ev *subIDEvidence) noRanges(i int) error {
	k, of := subIDKinds[i], ev.of[i]
	e := newError("unshare", User, of.path, fmt.Errorf("%w: user %s has no range of %ss there", ErrNoSubIDs, ev.user, k.what))
	if of.ignored > 0 {
		e.Hint = fmt.Sprintf("line %d seems to be meant for it, but is not NAME:FIRST:COUNT; ", of.ignored)
	}
	e.Hint += ev.option + " needs one in /etc/subuid and one in /etc/subgid; " + ev.addRange(i)
	if ev.direct {
		e.Hint += ". A caller with CAP_SETUID and CAP_SETGID can do without by passing IDMaps"
	}
	return e
}

// addRange says how the user gets a range. usermod takes only names, and newuidmap serves only users
// who have one.
func (ev *subIDEvidence) addRange(i int) string {
	k, of := subIDKinds[i], ev.of[i]
	switch {
	case len(ev.names) > 0:
		return "usermod " + k.option + " adds one"
	case ev.direct:
		return fmt.Sprintf("no name is known for uid %s: a line %[1]s:FIRST:COUNT in %s is one", ev.user, of.path)
	}
	return fmt.Sprintf("no name is known for uid %s, and %s serves users with a name alone: "+
		"it takes a line for that uid in /etc/passwd, and a line NAME:FIRST:COUNT in %s", ev.user, k.tool, of.path)
}

// fileCapability reports whether a security.capability attribute, struct
// vfs_cap_data of linux/capability.h, permits a capability below 32.
func fileCapability(attr []byte, capability uint) bool {
	return len(attr) >= 12 && binary.LittleEndian.Uint32(attr[4:])&(1<<capability) != 0
}

// errSubIDsInside is for a Set with a user namespace of its own.
var errSubIDsInside = sys.Wrap("SubIDs in a Set with a user namespace of its own: subordinate ids are given in this process's user namespace; use IDMaps", os.ErrInvalid)
