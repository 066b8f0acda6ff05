package gonso

import (
	"fmt"
	"strings"
)

// traceEvidence says whether this thread may trace a process, and so look at its namespaces
// (PTRACE_MODE_READ_FSCREDS in ptrace(2)).
type traceEvidence struct {
	pid       int
	hidden    string   // the option by which /proc does not show it, or ""
	known     bool     // the fields below could be read
	uids      []uint32 // real, effective and saved
	gids      []uint32
	permitted capSet

	euid, egid uint32 // of this thread
	capsKnown  bool
	caps       capSet
}

// traceHint is the hint for files of another process in /proc.
func traceHint(ev *traceEvidence) string {
	return fmt.Sprintf("it needs the right to trace process %d (PTRACE_MODE_READ_FSCREDS in ptrace(2)); ", ev.pid) +
		explain(traceRules, &refusal{pinEvidence: pinEvidence{evidence: evidence{trace: ev}}})
}

var traceRules = []rule{
	{
		matches: func(r *refusal) bool { return r.trace.lacks() && !r.trace.known && r.trace.hidden != "" },
		proven:  true,
		say:     func(r *refusal) string { return sayHidden(r.trace.pid, r.trace.hidden) },
	}, {
		matches: func(r *refusal) bool { return r.trace.lacks() && r.trace.others() != "" },
		proven:  true,
		say: func(r *refusal) string {
			t := r.trace
			return fmt.Sprintf("that one runs as %s, and this thread as uid %d and gid %d without CAP_SYS_PTRACE", t.others(), t.euid, t.egid)
		},
	}, {
		matches: func(r *refusal) bool { return r.trace.lacks() && r.trace.known && r.trace.permitted&^r.trace.caps != 0 },
		proven:  true,
		text:    "that one has capabilities that this thread lacks, as it lacks CAP_SYS_PTRACE",
	}, {
		matches: func(r *refusal) bool { return r.trace.lacks() },
		text:    "that one is not dumpable (PR_SET_DUMPABLE in prctl(2)), or in a user namespace that somebody else made, and this thread lacks CAP_SYS_PTRACE",
	}, {
		matches: func(*refusal) bool { return true },
		text:    "that one is in a user namespace that is not below this process's own, or a security module forbids it",
	},
}

// lacks: it is known that this thread has no CAP_SYS_PTRACE.
func (t *traceEvidence) lacks() bool { return t.capsKnown && !t.caps.has(capSysPtrace) }

// others names the process's ids that are not this thread's.
func (t *traceEvidence) others() string {
	var said []string
	for _, k := range []struct {
		name string
		ids  []uint32
		own  uint32
	}{{"uid", t.uids, t.euid}, {"gid", t.gids, t.egid}} {
		for _, id := range k.ids {
			if id != k.own {
				said = append(said, fmt.Sprintf("%s %d", k.name, id))
				break
			}
		}
	}
	return strings.Join(said, " and ")
}
