package gonso

import (
	"strings"
	"syscall"
	"testing"
)

// hint is the hint for a refusal.
func hint(op string, types Type, err error, ev *evidence) string {
	return explain(hintRules, &refusal{op, types, err, pinEvidence{evidence: *ev}})
}

func TestHint(t *testing.T) {
	const plain = "possibly "
	for name, c := range map[string]struct {
		op    string
		types Type
		err   error
		ev    evidence
		want  []string // parts of the hint; none means no hint
		not   string
	}{
		"no evidence, no hint":  {"unshare", User, syscall.EPERM, evidence{}, nil, ""},
		"ENOSPC without limits": {"unshare", Net, syscall.ENOSPC, evidence{}, nil, ""},
		// bubblewrap#371: a limit is the cause only if it is known.
		"a limit of 0 is a fact": {"unshare", User | Net, syscall.ENOSPC, evidence{limits: map[Type]int64{User: 0, Net: 5}},
			[]string{"the sysctl user.max_user_namespaces is 0"}, plain},
		"other limits are possibilities": {"unshare", Net, syscall.ENOSPC, evidence{limits: map[Type]int64{Net: 5}},
			[]string{plain, "user.max_net_namespaces of 5"}, ""},
		"nesting":        {"unshare", User, syscall.ENOSPC, evidence{}, []string{plain, "32"}, ""},
		"EUSERS of user": {"unshare", User, syscall.EUSERS, evidence{limits: map[Type]int64{User: 0}}, []string{"user.max_user_namespaces is 0"}, plain},
		"EUSERS of time": {"setns", Time, syscall.EUSERS, evidence{limits: map[Type]int64{Time: 0}}, nil, ""},
		// nerdctl#2847: bare EPERM.
		"Debian's sysctl is a fact": {"unshare", User, syscall.EPERM, evidence{usernsOff: true, capsKnown: true},
			[]string{"kernel.unprivileged_userns_clone is 0"}, plain},
		"Debian's sysctl does not concern root": {"unshare", User, syscall.EPERM, evidence{usernsOff: true, caps: 1 << capSysAdmin, capsKnown: true}, []string{plain, "chroot", "security module"}, "unprivileged_userns_clone"},
		"a chroot is a fact":                    {"unshare", User, syscall.EPERM, evidence{chrooted: true}, []string{"chroot"}, plain},
		"a chroot does not concern net": {"unshare", Net, syscall.EPERM, evidence{chrooted: true, capsKnown: true, caps: 1 << capSysAdmin},
			[]string{plain, "security module"}, "chroot"},
		"AppArmor is a possibility": {"unshare", User, syscall.EPERM, evidence{appArmor: true, capsKnown: true},
			[]string{plain, "AppArmor"}, ""},
		"AppArmor does not concern root": {"unshare", User, syscall.EPERM, evidence{appArmor: true, caps: 1 << capSysAdmin, capsKnown: true}, []string{plain, "chroot", "security module"}, "apparmor_restrict"},
		"seccomp is a possibility":       {"unshare", User, syscall.EPERM, evidence{seccomp: true, capsKnown: true}, []string{plain, "seccomp"}, ""},
		"two possibilities": {"unshare", User, syscall.EPERM, evidence{seccomp: true, appArmor: true, capsKnown: true},
			[]string{plain, "AppArmor", "; or ", "seccomp"}, ""},
		"missing capability is a fact": {"unshare", Net, syscall.EPERM, evidence{capsKnown: true}, []string{"CAP_SYS_ADMIN", "user namespace"}, plain},
		"capabilities not readable":    {"unshare", Net, syscall.EPERM, evidence{}, nil, ""},
		"setns":                        {"setns", Net, syscall.EPERM, evidence{capsKnown: true}, []string{plain, "CAP_SYS_ADMIN"}, ""},
		"setns with the capability":    {"setns", Net, syscall.EPERM, evidence{capsKnown: true, caps: 1 << capSysAdmin}, nil, ""},
		"id maps":                      {"write uid_map of", User, syscall.EPERM, evidence{capsKnown: true}, []string{plain, "effective uid and gid"}, ""},
		"EINVAL of unshare":            {"unshare", Cgroup, syscall.EINVAL, evidence{}, []string{plain, "built without"}, ""},
		"descriptors on their way":     {"sendmsg", User, syscall.ETOOMANYREFS, evidence{}, []string{"RLIMIT_NOFILE", "nobody receives them"}, plain},
		"EINVAL of setns":              {"setns", Cgroup, syscall.EINVAL, evidence{}, nil, ""},
		"another error":                {"unshare", Net, syscall.ENOMEM, evidence{capsKnown: true, seccomp: true}, nil, ""},
	} {
		got := hint(c.op, c.types, c.err, &c.ev)
		if len(c.want) == 0 && got != "" || len(c.want) > 0 && got == "" {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, part := range c.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q, want %q in it", name, got, part)
			}
		}
		if c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%s: %q, with %q in it", name, got, c.not)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		"gonso: unshare net: operation not permitted":    {Op: "unshare", Type: Net, Err: syscall.EPERM},
		"gonso: open /x: not a namespace file":           {Op: "open", Path: "/x", Err: ErrNotNamespace},
		"gonso: open net /x/net: no such file (a guess)": {Op: "open", Type: Net, Path: "/x/net", Err: errText("no such file"), Hint: "a guess"},
		"gonso: run": {Op: "run"},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

type errText string

func (e errText) Error() string { return string(e) }
