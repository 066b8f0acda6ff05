package gonso

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// This file says which of the kernel's rules for ids a refusal comes from. It is pure:
// hint_ids_linux.go gathers the evidence.

// capSet is a set of capabilities: a bit for each CAP_*.
type capSet uint64

func (s capSet) has(capability uint) bool { return s&(1<<capability) != 0 }

// The capabilities that rules are about (linux/capability.h).
const (
	capSetgid      = 6
	capSetuid      = 7
	capSetpcap     = 8
	capNetAdmin    = 12
	capSysChroot   = 18
	capSysPtrace   = 19
	capSysAdmin    = 21
	capSysResource = 24
	capSysTime     = 25
	capSetfcap     = 31
)

// idEvidence is the evidence about ids in a user namespace, and about id maps of user namespaces
// below it.
type idEvidence struct {
	where  string // the user namespace, in words
	inside bool   // it is the Set's, which the launcher joins; outside ids of its maps are this process's

	known           bool    // uid, gid and setgroupsDenied could be read
	uid, gid        []IDMap // its maps
	setgroupsDenied bool

	capsKnown bool
	caps      capSet // the effective ones of the process that acts there
	permitted capSet
	who       string // the process that acts, in words
	euid      uint32
	egid      uint32
	ownUIDs   []uint32 // real, effective and saved
	ownGIDs   []uint32
	setfcap   bool // the kernel demands CAP_SETFCAP (Linux 5.12)
}

// idKinds are uid and gid, in the order in which maps are written. Credentials are set in the other
// order.
var idKinds = [2]struct {
	name       string
	capability uint
	capName    string
}{{"uid", capSetuid, "CAP_SETUID"}, {"gid", capSetgid, "CAP_SETGID"}}

// refusedOwner says why nobody can make another user namespace in this one: its maker must have ids
// there (create_user_ns).
func (ev *idEvidence) refusedOwner() string {
	if !ev.known {
		return ""
	}
	for i, id := range [2]uint32{ev.euid, ev.egid} {
		name := idKinds[i].name
		switch has := ev.unmapped(i, 0, 1) == ""; {
		case ev.inside && !has && !mapped(ev.of(i), id):
			return fmt.Sprintf("%s maps neither %s 0 nor that of this process, %d, and only who has one there can make a user namespace in it", ev.where, name, id)
		case !ev.inside && ev.unmapped(i, id, 1) != "":
			return fmt.Sprintf("the %s of this process is not mapped in its own user namespace, and only who has one there can make another", name)
		}
	}
	return ""
}

// unownedFile says why the kernel ignores the setuid bit of a file that stat(2) shows as owner's
// (bprm_fill_uid). It shows files of unmapped owners as the overflow uid's. It returns "" if the
// owner is mapped, as far as can be known.
func (ev *idEvidence) unownedFile(owner uint32) string {
	switch {
	case !ev.known:
	case ev.unmapped(0, 0, 1) != "":
		return ev.unmapped(0, 0, 1)
	case ev.unmapped(0, owner, 1) != "":
		return "its owner is not mapped in " + ev.where
	}
	return ""
}

// refusedMaps says what is wrong with the id maps of a new user namespace below this one: the rules
// of map_write, new_idmap_permitted and verify_root_map in kernel/user_namespace.c.
func (ev *idEvidence) refusedMaps(uid, gid []IDMap, denySetgroups bool) string {
	for i, maps := range [2][]IDMap{uid, gid} {
		if why := ev.refusedMap(i, maps, denySetgroups); why != "" {
			return why
		}
	}
	return ""
}

func (ev *idEvidence) refusedMap(kind int, maps []IDMap, denySetgroups bool) string {
	k := idKinds[kind]
	lacks := func(capability uint) bool { return ev.capsKnown && !ev.caps.has(capability) }
	if lacks(k.capability) {
		own := ev.euid
		if kind == 1 {
			own = ev.egid
		}
		switch {
		case len(maps) != 1 || maps[0].Size != 1 || maps[0].HostID != own:
			return fmt.Sprintf("%s map: without %s %s can map only its own effective %s, %d, in one line of one id; SubIDs maps more",
				k.name, k.capName, ev.who, k.name, own)
		case kind == 1 && !denySetgroups && ev.known && !ev.setgroupsDenied:
			return fmt.Sprintf("gid map: without CAP_SETGID %s can write it only where setgroups is denied: leave Setgroups(true) out", ev.who)
		}
	}
	for i, m := range maps {
		if kind == 0 && m.HostID == 0 && ev.setfcap && lacks(capSetfcap) {
			return fmt.Sprintf("%s: it maps uid 0 of %s, which takes CAP_SETFCAP there since Linux 5.12, and %s lacks that%s", lineOf(k.name, i, m), ev.where, ev.who, giveCapability)
		}
	}
	if !ev.known {
		return ""
	}
	for i, m := range maps {
		if why := ev.unmapped(kind, m.HostID, m.Size); why != "" {
			return lineOf(k.name, i, m) + ": " + why
		}
	}
	return ""
}

// unmappedLine finds the first line with ids that the user namespace does not have.
func (ev *idEvidence) unmappedLine(uid, gid []IDMap) string {
	if !ev.known {
		return ""
	}
	for kind, maps := range [2][]IDMap{uid, gid} {
		for i, m := range maps {
			if why := ev.unmapped(kind, m.HostID, m.Size); why != "" {
				return lineOf(idKinds[kind].name, i, m) + ": " + why
			}
		}
	}
	return ""
}

func lineOf(kind string, i int, m IDMap) string {
	return fmt.Sprintf("%s map, line %d (%d %d %d)", kind, i, m.ContainerID, m.HostID, m.Size)
}

// unmapped says why the user namespace does not have count ids from first on: one line of its map
// must have all of them (map_id_range_down).
func (ev *idEvidence) unmapped(kind int, first, count uint32) string {
	maps := ev.of(kind)
	last := first + (count - 1)
	ids := fmt.Sprintf("%s %d is", idKinds[kind].name, first)
	if count > 1 {
		ids = fmt.Sprintf("%ss %d-%d are", idKinds[kind].name, first, last)
	}
	for _, m := range maps {
		if first < m.ContainerID || first-m.ContainerID >= m.Size {
			continue
		}
		end := m.ContainerID + (m.Size - 1)
		if last <= end {
			return ""
		}
		rest := IDMap{HostID: end + 1, Size: last - end}
		if ev.unmapped(kind, rest.HostID, rest.Size) == "" {
			return fmt.Sprintf("%s in several lines of the map of %s, and the kernel takes lines that are in one: begin another at %d", ids, ev.where, rest.HostID)
		}
		break
	}
	if len(maps) == 0 {
		return fmt.Sprintf("%s not mapped in %s, which has no %s map", ids, ev.where, idKinds[kind].name)
	}
	not := "not mapped"
	if count > 1 {
		not = "not all mapped"
	}
	return fmt.Sprintf("%s %s in %s (mapped: %s)", ids, not, ev.where, spans(maps))
}

func (ev *idEvidence) of(kind int) []IDMap {
	if kind == 0 {
		return ev.uid
	}
	return ev.gid
}

// spans lists the ids that maps have inside.
func spans(maps []IDMap) string {
	const most = 6
	var parts []string
	for i, m := range maps {
		switch {
		case i == most:
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(maps)-most)
		case m.Size == 1:
			parts = append(parts, fmt.Sprint(m.ContainerID))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", m.ContainerID, m.ContainerID+(m.Size-1)))
		}
	}
	return strings.Join(parts, ", ")
}

// refusedCredential lists everything that is wrong with the ids for a program in the user
// namespace.
func (ev *idEvidence) refusedCredential(c *Credential) string {
	var why []string
	if ev.known {
		for i, id := range [2]uint32{c.UID, c.GID} {
			why = append(why, ev.unmapped(i, id, 1))
		}
		if !c.NoSetGroups {
			for _, id := range c.Groups {
				why = append(why, ev.unmapped(1, id, 1))
			}
			if ev.setgroupsDenied {
				why = append(why, "setgroups(2) is denied in "+ev.where+": set NoSetGroups")
			}
		}
	}
	if ev.capsKnown {
		gid := !c.NoSetGroups || !slices.Contains(ev.ownGIDs, c.GID)
		for i, needed := range [2]bool{!slices.Contains(ev.ownUIDs, c.UID), gid} {
			if k := idKinds[i]; needed && !ev.caps.has(k.capability) {
				why = append(why, fmt.Sprintf("%s lacks %s in %s; a Set with a user namespace of its own that maps the ids has it", ev.who, k.capName, ev.where))
			}
		}
	}
	var said []string
	for _, w := range why {
		if len(said) > 0 {
			w = strings.ReplaceAll(w, "in "+ev.where, "there")
		}
		if w != "" && !slices.Contains(said, w) {
			said = append(said, w)
		}
	}
	return strings.Join(said, "; ")
}

// refusedAmbient says which capabilities cannot be made ambient. last is the greatest capability
// that the kernel has, or negative.
func (ev *idEvidence) refusedAmbient(caps []uintptr, last int64) string {
	for _, c := range caps {
		switch {
		case last >= 0 && uint64(c) > uint64(min(last, math.MaxInt32)):
			return fmt.Sprintf("the kernel has no capability %d: the last is %d", c, last)
		case ev.capsKnown && c < 64 && !ev.permitted.has(uint(c)):
			return fmt.Sprintf("%s has no capability %d in %s to pass on", ev.who, c, ev.where)
		}
	}
	return ""
}

// refusedCapabilities says why capability sets could not be set, by the rules of cap_capset and
// cap_prctl_drop in security/commoncap.c.
func (ev *idEvidence) refusedCapabilities(option string, permitted, inheritable capSet) string {
	if !ev.capsKnown {
		return ""
	}
	switch left := permitted &^ ev.permitted; {
	case option == "Capabilities.Bounding" && !ev.caps.has(capSetpcap):
		return fmt.Sprintf("%s lacks CAP_SETPCAP in %s, which dropping from it takes", ev.who, ev.where)
	case option == "Capabilities" && left != 0:
		return fmt.Sprintf("Permitted: %s has no capability %d in %s to pass on", ev.who, left.first(), ev.where)
	case option == "Capabilities" && inheritable&^ev.permitted != 0:
		return fmt.Sprintf("Inheritable: %s has no capability %d in %s to pass on", ev.who, (inheritable &^ ev.permitted).first(), ev.where)
	}
	return ""
}

// mapped reports whether an outside id has an id inside.
func mapped(maps []IDMap, id uint32) bool {
	for _, m := range maps {
		if id >= m.HostID && uint64(id) < uint64(m.HostID)+uint64(m.Size) {
			return true
		}
	}
	return false
}
