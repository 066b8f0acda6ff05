package gonso

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// gatherIDs reads the evidence about the user namespace of work in the Set. If inside is unset, it
// is about this process's own user namespace.
func (c *core) gatherIDs(inside bool) *idEvidence {
	ev := &idEvidence{setfcap: kernelVersion().has(version{5, 12}), euid: uint32(os.Geteuid()), egid: uint32(os.Getegid())}
	var u *reexec.UserNS
	var err error
	if inside && c.foreign&User != 0 {
		ev.where, ev.who, ev.inside = "the Set's user namespace", "the launcher", true
		ev.caps, ev.permitted, ev.capsKnown = math.MaxUint64, math.MaxUint64, true // a process that joins has all (setns(2))
		u, err = c.userNS("id maps")
	} else {
		ev.where, ev.who = "this process's user namespace", "this process"
		if caps, err := sys.ThreadCaps(); err == nil {
			ev.caps, ev.permitted, ev.capsKnown = capSet(caps.Effective), capSet(caps.Permitted), true
		}
		ev.ownUIDs, ev.ownGIDs = ownIDs()
		u, err = reexec.LookAtOwnUserNS()
	}
	if err == nil {
		uid, uerr := parseIDMaps(u.UIDMap)
		gid, gerr := parseIDMaps(u.GIDMap)
		if ev.known = errors.Join(uerr, gerr) == nil; ev.known {
			ev.uid, ev.gid, ev.setgroupsDenied = uid, gid, u.SetgroupsDenied
		}
	}
	return ev
}

func ownIDs() (uids, gids []uint32) {
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	return []uint32{uint32(ruid), uint32(euid), uint32(suid)}, []uint32{uint32(rgid), uint32(egid), uint32(sgid)}
}

// creationError is launchError with more about the cause, from the options and the Set.
func (c *core) creationError(types, base Type, spec *reexec.Creation, o *unshareOptions, err error) error {
	le, ok := errors.AsType[*reexec.LaunchError](err)
	if !ok || errors.Is(le.Err, unix.EAGAIN) { // launchHint explains EAGAIN
		return launchError(types, err)
	}
	nested := base&User != 0
	switch {
	case le.Option == "OwnerUID":
		refusal := newError("unshare", types, "", optionError(le))
		if ids := c.gatherIDs(nested); ids.known {
			refusal.Hint = ids.unmapped(0, *spec.OwnerUID, 1)
		}
		return refusal
	case le.Op == "newuidmap" || le.Op == "newgidmap":
		refusal := newError(le.Op, Type(le.Type), "", le.Err)
		refusal.Path = le.Path
		if hint := toolHint(le.Err); hint != "" {
			return refusal.withHint(hint)
		}
		if uid, gid, err := mapsOf(spec); err == nil {
			refusal.Hint = c.gatherIDs(false).unmappedLine(uid, gid)
		}
		return refusal
	}
	return launchErrorWith(types, err, func(ev *evidence) {
		switch {
		case writesMap(le):
			if uid, gid, err := mapsOf(spec); err == nil {
				ev.idRule, ev.ids = c.gatherIDs(nested).refusedMaps(uid, gid, spec.DenySetgroups), true
			}
			if ev.idRule != "" && !o.idMaps && !o.subIDs {
				ev.idRule += "; it is the map that there is without IDMaps"
			}
		case le.Op == "setns":
			c.addOwner(ev, err)
		case le.Op == "unshare" && le.Type&unix.CLONE_NEWUSER != 0 && errors.Is(le.Err, unix.EPERM):
			ev.idRule = c.gatherIDs(nested).refusedOwner()
		case errors.Is(le.Err, unix.ENOSPC) && nested:
			ev.limits, ev.limitsIn = c.limitsInside(types)
		}
	})
}

// mapsOf are the id maps of a creation.
func mapsOf(spec *reexec.Creation) (uid, gid []IDMap, err error) {
	uid, uerr := parseIDMaps(spec.UIDMap)
	gid, gerr := parseIDMaps(spec.GIDMap)
	return uid, gid, errors.Join(uerr, gerr)
}

// writesMap reports whether the step that failed writes an id map, in this process or a launcher.
func writesMap(le *reexec.LaunchError) bool {
	return le.Type&unix.CLONE_NEWUSER != 0 && (strings.HasPrefix(le.Op, "write") || strings.HasPrefix(le.Op, "open"))
}

// limitsInside are the limits of the Set's user namespace. If a limit is 0 in a user namespace
// between it and this process's own, they are the limits of that one.
func (c *core) limitsInside(types Type) (limits map[Type]int64, in string) {
	var names []string
	types.each(func(i int, _ Type) { names = append(names, "max_"+typeTable[i].name+"_namespaces") })
	for i, user := range slices.Backward(c.users) {
		ctx, cancel := createContext()
		join := []reexec.Join{{Type: unix.CLONE_NEWUSER, File: user.File()}}
		read, err := reexec.NamespaceLimits(ctx, join, c.exposes(User), names)
		cancel()
		if err != nil {
			return nil, ""
		}
		here, zero := make(map[Type]int64), false
		types.each(func(i int, t Type) {
			if v, ok := read["max_"+typeTable[i].name+"_namespaces"]; ok {
				here[t], zero = v, zero || v == 0
			}
		})
		switch {
		case zero && i < len(c.users)-1:
			return here, " in a user namespace above the Set's"
		case zero:
			return here, " in the Set's user namespace"
		case limits == nil:
			limits, in = here, " in the Set's user namespace"
		}
	}
	own := namespaceLimits(types)
	for _, v := range own {
		if v == 0 {
			return own, " in this process's user namespace"
		}
	}
	return limits, in
}

// optionHint is for a step of a program's launch that an option asked for.
func (c *core) optionHint(le *reexec.LaunchError, g *reexec.Program) string {
	hint := c.idsHint(le, g)
	if hint == "" && slices.Contains([]string{"Credential", "AmbientCaps", "Capabilities", "Capabilities.Bounding"}, le.Option) {
		hint, _ = findHint(le.Op, 0, le.Err, func(ev *evidence) { ev.inside = le.Inside }) // no rule for ids was broken
	}
	return hint
}

// idsHint is optionHint by the rules for ids and capabilities.
func (c *core) idsHint(le *reexec.LaunchError, g *reexec.Program) string {
	switch cr := g.Credential; {
	case le.Option == "Credential" && cr != nil:
		return c.gatherIDs(true).refusedCredential(&Credential{UID: cr.UID, GID: cr.GID, Groups: cr.Groups, NoSetGroups: cr.KeepGroup})
	case le.Option == "AmbientCaps":
		return c.gatherIDs(true).refusedAmbient(g.AmbientCaps, lastCap())
	case g.Capabilities != nil && errors.Is(le.Err, unix.EPERM):
		return c.gatherIDs(true).refusedCapabilities(le.Option, capSet(g.Capabilities.Permitted), capSet(g.Capabilities.Inheritable))
	case le.Option == "OOMScoreAdj" && errors.Is(le.Err, unix.EACCES):
		return "lowering it takes CAP_SYS_RESOURCE in the initial user namespace, or that a process with that has raised it before"
	}
	return ""
}

// lastCap is the greatest capability that the kernel has, or negative.
func lastCap() int64 {
	if n, ok := sysctl("kernel/cap_last_cap"); ok {
		return n
	}
	return -1
}

// refuseOwner refuses OwnerUID if the caller cannot take on that id, or could not write the maps
// afterwards.
func (o *unshareOptions) refuseOwner(nested bool) error {
	if o.ownerUID == nil || nested || *o.ownerUID == uint32(os.Geteuid()) {
		return nil
	}
	writes := !o.noIDMaps
	for _, need := range []struct {
		capability uint
		needed     bool
		name, why  string
	}{
		{unix.CAP_SETUID, true, "CAP_SETUID", fmt.Sprintf("to make a user namespace as uid %d", *o.ownerUID)},
		{unix.CAP_SYS_ADMIN, writes, "CAP_SYS_ADMIN", "to write the id maps of a user namespace that somebody else owns; NoIDMaps leaves them to others"},
		{unix.CAP_DAC_OVERRIDE, writes && os.Geteuid() != 0, "CAP_DAC_OVERRIDE", "to open the id maps without uid 0; NoIDMaps leaves them to others"},
		{unix.CAP_SETGID, o.subIDs || o.byTool(nested)[1], "CAP_SETGID", "for its gid map, as newuidmap serves the owner of a user namespace alone"},
	} {
		if need.needed && !hasCapability(need.capability) {
			return newError("unshare", User, "", fmt.Errorf("%s: %w", "OwnerUID", unix.EPERM)).
				withHint(fmt.Sprintf("this process lacks %s, which it needs %s", need.name, need.why))
		}
	}
	return nil
}

// refuseSetgroups refuses Setgroups(true) if it would change nothing, or if the kernel would refuse
// the gid map.
func (c *core) refuseSetgroups(o *unshareOptions, nested bool) error {
	if o.setgroups == nil || !*o.setgroups {
		return nil
	}
	bad := func(hint string) error {
		return newError("unshare", User, "", fmt.Errorf("Setgroups(true): %w", unix.EPERM)).withHint(hint)
	}
	if !nested && !o.subIDs && !o.noIDMaps && !o.byTool(nested)[1] && !hasCapability(unix.CAP_SETGID) {
		return bad("this process lacks CAP_SETGID, and the kernel takes its gid map only with setgroups denied (user_namespaces(7)); SubIDs has both")
	}
	where := "this process's user namespace"
	var u *reexec.UserNS
	var err error
	if nested {
		where = "the Set's user namespace"
		u, err = c.userNS("unshare")
	} else {
		u, err = reexec.LookAtOwnUserNS()
	}
	if err != nil {
		return newError("unshare", User, "", fmt.Errorf("Setgroups(true): whether %s allows it is not known: %w", where, err))
	}
	if u.SetgroupsDenied {
		return bad("setgroups is denied in " + where + ", and so in all that are made below it")
	}
	return nil
}
