package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gonso/gonso/integration/bench/record"
	"github.com/gonso/gonso/integration/bench/single"
)

// A mode is how calls come.
type mode struct {
	name    string
	gap     time.Duration
	n       int // calls of a turn, if they are counted
	callers int
}

var modes = []mode{
	{"back to back", 0, 0, 1},
	{"every 2 ms", 2 * time.Millisecond, 40, 1},
	{"every 80 ms", 80 * time.Millisecond, 8, 1},
	{"4 callers", 0, 0, 4},
	{"16 callers", 0, 0, 16},
	{"64 callers", 0, 0, 64},
}

// turn is how long a contestant calls back to back, once a round.
const turn = 50 * time.Millisecond

// An entry is a contestant of the warm rows.
type entry struct {
	name   string
	of     string // what it is compared with
	limit  record.Limit
	peers  bool // another program has it
	alone  bool // no other process, so that there is nothing to split
	single bool // no more than one caller
	seldom bool // not measured every 80 ms, to save time
	spread bool // does nothing of its own where there is one processor for each process
}

var entries = []entry{
	{name: "the pace alone", alone: true, single: true},
	{name: byHandRestored, alone: true},
	{name: closure, of: byHandRestored, limit: 1.15, alone: true},
	{name: "CNI ns.Do", of: byHandRestored, alone: true, seldom: true},
	{name: "vishvananda/netns by hand", of: byHandRestored, alone: true, seldom: true},
	{name: byHandDropped, alone: true},
	{name: "gonso, closure, dropped", of: byHandDropped, limit: 1.15, alone: true},
	{name: "gonso, function on a thread", of: closure, limit: 1.6, alone: true},
	{name: goEcho},
	{name: "two pipes, raw", of: goEcho, single: true},
	{name: "socketpair, raw", of: goEcho, single: true},
	{name: cleanCall, of: goEcho, limit: 1},
	{name: spinningCall, of: cleanCall, single: true, seldom: true, spread: true},
	{name: "gonso, call, default", of: cleanCall},
	{name: "gob by hand", of: goEcho, peers: true, seldom: true},
	{name: "net/rpc", of: goEcho, peers: true, seldom: true},
	{name: "containerd/ttrpc", of: goEcho, peers: true, seldom: true},
	{name: "hashicorp/go-plugin, net/rpc", of: goEcho, peers: true, seldom: true},
	{name: "hashicorp/go-plugin, gRPC", of: goEcho, peers: true, seldom: true},
}

// in says whether the entry takes part in a mode.
func (e entry) in(m mode) bool {
	if m.callers > 1 && e.single {
		return false
	}
	if e.name == "the pace alone" {
		return m.gap > 0
	}
	return !e.seldom || m.gap < 80*time.Millisecond
}

// notIn says why the entry takes no part in a placement, or "".
func (e entry) notIn(placement string) string {
	switch {
	case e.alone && placement == twoCPUs:
		return "it is in one process, so there is nothing to split"
	case e.spread && placement != freely:
		return "it needs more than one processor for each process"
	}
	return ""
}

// warmRows are of single calls, each placement a row.
func warmRows() (rows []row) {
	for i, name := range []string{oneCPU, twoCPUs, freely} {
		r := row{name: "warm, " + name, once: 4 * time.Second}
		for _, m := range modes {
			r.parts = append(r.parts, r.name+", "+m.name)
			for _, e := range entries {
				if !e.in(m) || e.notIn(name) != "" {
					continue
				}
				r.each += max(turn, time.Duration(m.n)*(m.gap+200*time.Microsecond))
			}
		}
		r.measure = func(o *options) ([]record.Line, error) {
			allowed, err := single.Allowed()
			if err != nil {
				return nil, err
			}
			return warm(o, r.name, placements(allowed, coreOf)[i])
		}
		rows = append(rows, r)
	}
	return rows
}

// hands are the processes that have the contestants.
type hands struct {
	own, peers *single.Hand
	noPeers    string // why there are none
}

func startHands(o *options, p placement) (h hands, err error) {
	if h.own, err = single.Start(asRole("bench-hand"), p.caller); err != nil {
		return h, err
	}
	f, err := o.peers.file(o)
	if no, ok := errors.AsType[*notHere](err); ok {
		h.noPeers = no.what
		return h, nil
	}
	if err == nil {
		h.peers, err = single.Start(programOf(f), p.caller)
	}
	if err != nil {
		return h, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h hands) Close() error {
	err := h.own.Close()
	if h.peers != nil {
		err = errors.Join(err, h.peers.Close())
	}
	return err
}

// of is the hand that has the entry.
func (h hands) of(e entry) *single.Hand {
	if e.peers {
		return h.peers
	}
	return h.own
}

// warm measures all modes in a placement.
func warm(o *options, row string, p placement) (lines []record.Line, err error) {
	if p.notHere != "" {
		return []record.Line{{What: row, NotMeasured: p.notHere}}, nil
	}
	h, err := startHands(o, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	callers := 0
	missing := make(map[string]string) // why an entry is not here
	for _, m := range modes {
		name := row + ", " + m.name
		if o.match != nil && !o.match(name) && !o.match(row) {
			continue
		}
		o.say("  %s", m.name)
		if m.callers != callers {
			if err := h.open(p, m.callers, missing); err != nil {
				return nil, err
			}
			callers = m.callers
		}
		ls, err := h.mode(o, name, p, m, missing)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		lines = append(lines, ls...)
	}
	return lines, nil
}

// open makes all entries ready for so many callers.
func (h hands) open(p placement, callers int, missing map[string]string) error {
	for _, e := range entries {
		if missing[e.name] != "" || callers > 1 && e.single {
			continue
		}
		if e.peers && h.noPeers != "" {
			missing[e.name] = h.noPeers
			continue
		}
		if why := e.notIn(p.name); why != "" {
			missing[e.name] = why
			continue
		}
		var worker []int
		if !e.alone {
			worker = p.worker
		}
		err := h.of(e).Open(e.name, callers, worker)
		if no, ok := errors.AsType[*single.NotHere](err); ok {
			missing[e.name] = no.What
		} else if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// mode lets the entries take turns. Each round begins with another one.
func (h hands) mode(o *options, name string, p placement, m mode, missing map[string]string) (lines []record.Line, err error) {
	var here []entry
	for _, e := range entries {
		if e.in(m) && missing[e.name] == "" {
			here = append(here, e)
		}
	}
	t := single.Turn{For: turn, N: m.n, Gap: m.gap, Callers: m.callers}
	if o.short {
		t.N = 1
		t.Gap = min(t.Gap, 2*time.Millisecond)
	}
	turns := make(map[string][]record.Calls)
	for round := range o.rounds {
		for i := range here {
			e := here[(i+round)%len(here)]
			c, err := h.of(e).Take(e.name, t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			turns[e.name] = append(turns[e.name], c)
		}
	}
	// Of one caller what a call takes, of many what all together take for one.
	times := func(name string) (v []float64) {
		for _, c := range turns[name] {
			if m.callers == 1 {
				v = append(v, c.P50)
			} else {
				v = append(v, 1e9/c.PerSecond)
			}
		}
		return v
	}
	cpu := func(name string) (v []float64) {
		for _, c := range turns[name] {
			v = append(v, c.CPU())
		}
		return v
	}
	for _, e := range entries {
		if !e.in(m) {
			continue
		}
		l := record.Line{Row: name, What: e.name, Placement: p.name, Pace: m.name, Callers: m.callers, NotMeasured: missing[e.name]}
		if slices.Contains(here, e) {
			l.Calls = record.MedianCalls(turns[e.name])
			took := times(e.name)
			l.Takes = record.Median(took)
			if floor := times(e.of); len(floor) > 0 {
				l.Floor, l.FloorTime = e.of, record.Median(floor)
				l.Ratios = record.Ratios(took, floor)
				l.Ratio = record.Median(l.Ratios)
				l.CPURatios = record.Ratios(cpu(e.name), cpu(e.of))
				l.CPURatio = record.Median(l.CPURatios)
				if m.callers == 1 && m.gap == 0 {
					l.Limit, l.Reached = e.limit, e.limit.Reached(l.Ratio)
				}
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}
