package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A placement says on which CPUs the caller and the process at the other end are.
type placement struct {
	name           string
	caller, worker []int
	notHere        string // why it is not possible here
}

const (
	oneCPU  = "one CPU"
	twoCPUs = "two CPUs"
	freely  = "free"
)

// placements chooses among the CPUs that may be used: the last ones, as the first has most of the
// interrupts. Two are of different cores where there are such. core names a CPU's core.
func placements(allowed []int, core func(cpu int) string) []placement {
	last := allowed[len(allowed)-1]
	one := placement{name: oneCPU, caller: []int{last}, worker: []int{last}}
	two := placement{name: twoCPUs, caller: []int{last}}
	free := placement{name: freely, caller: allowed, worker: allowed}
	for _, other := range slices.Backward(allowed[:len(allowed)-1]) {
		if two.worker == nil {
			two.worker = []int{other}
		}
		if core(other) != core(last) {
			two.worker = []int{other}
			break
		}
	}
	if two.worker == nil {
		two.notHere = "there is one CPU only"
		free.notHere = "there is one CPU only, so it is the same as " + oneCPU
	}
	return []placement{one, two, free}
}

// coreOf names the core of a CPU: the CPUs that share it. Without that each CPU counts as a core.
func coreOf(cpu int) string {
	b, err := os.ReadFile(filepath.Join("/sys/devices/system/cpu", fmt.Sprintf("cpu%d", cpu), "topology/thread_siblings_list"))
	if err != nil {
		return fmt.Sprint(cpu)
	}
	return strings.TrimSpace(string(b))
}
