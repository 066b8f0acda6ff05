package gonso

import "fmt"

// processLimits are the limits that may keep this process from starting another one (EAGAIN,
// fork(2)).
type processLimits struct {
	exempt bool // RLIMIT_NPROC does not hold for it
	limit  uint64
	known  bool // limit could be read
	have   uint64
	uid    uint32

	cgroup            string // a full cgroup, or ""
	cgroupMax, inside uint64
}

var processRules = []rule{
	{
		matches: func(r *refusal) bool { return r.processes.cgroup != "" },
		proven:  true,
		say: func(r *refusal) string {
			p := &r.processes
			return fmt.Sprintf("the cgroup %s has %d processes and threads, and may have %d (pids.max)", p.cgroup, p.inside, p.cgroupMax)
		},
	}, {
		matches: func(r *refusal) bool { return r.processes.limited() && r.processes.have >= r.processes.limit },
		proven:  true,
		say: func(r *refusal) string {
			p := &r.processes
			return fmt.Sprintf("uid %d has %d processes and threads, and RLIMIT_NPROC of this process allows %d (ulimit -u)", p.uid, p.have, p.limit)
		},
	}, {
		matches: func(r *refusal) bool { return r.processes.limited() },
		say: func(r *refusal) string {
			p := &r.processes
			return fmt.Sprintf("uid %d has as many processes and threads as RLIMIT_NPROC of this process allows, %d (ulimit -u), though %d are seen here",
				p.uid, p.limit, p.have)
		},
	}, {
		matches: func(*refusal) bool { return true },
		text:    "a limit of the system is reached: the sysctl kernel.threads-max or kernel.pid_max, or pids.max of a cgroup",
	},
}

func (p *processLimits) limited() bool { return p.known && !p.exempt }

// processHint is hint for EAGAIN of a call that starts a process.
func processHint(p *processLimits) string {
	return explain(processRules, &refusal{pinEvidence: pinEvidence{evidence: evidence{processes: *p}}})
}
