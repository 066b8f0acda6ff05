package gonso

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// An Example is a whole program for its reader, so it cannot skip. Where it lacks something, it is
// not run, and TestExamplesHaveWhatTheyNeed skips in its place, with the reason.

// exampleNeed is what an Example lacks here, or nil, and how testenv.Found calls that.
type exampleNeed struct {
	what    string
	missing func() error
}

var exampleNeeds = map[string][]exampleNeed{
	"Example":                     {makes(User | UTS)},
	"Example_pauseProcess":        {makes(User | Mount)},
	"Example_pivotRoot":           {makes(Mount)},
	"Example_pivotRootRootless":   {makes(User | Mount)},
	"Example_rootless":            {makes(User | Mount)},
	"ExampleClockOffsets":         {timeNS, makes(User | Time)},
	"ExampleCmd":                  {makes(User | UTS)},
	"ExampleCmd_StdoutPipe":       {makes(User | Mount), program("tar")},
	"ExampleFunc_Do":              {makes(User)},
	"ExampleFunc_Do_channels":     {makes(User | Mount)},
	"ExampleFunc_Do_files":        {makes(User | Mount)},
	"ExampleFunc_Do_image":        {makes(User | Mount)},
	"ExampleFunc_Do_stream":       {makes(User | Mount)},
	"ExampleIDMaps":               {makes(User)},
	"ExampleIDMaps_plainUser":     {rangeFrom100000, inRanges},
	"ExampleInit":                 {makes(User)},
	"ExampleLoopbackUp":           {makes(User|Net, LoopbackUp())},
	"ExampleMountProc":            {makes(User|PID|Mount, MountProc())},
	"ExampleNoIDMaps":             {makes(User, NoIDMaps())},
	"ExampleOwnerUID":             {asHost, makes(User|Net, NoIDMaps(), OwnerUID(1000))},
	"ExampleOnlySubIDs":           {inRanges, makes(User | Mount)},
	"ExamplePool":                 {makes(User | UTS)},
	"ExampleProbe":                {makes(User | Net)},
	"ExamplePropagation":          {makes(User | Mount)},
	"ExampleRegister":             {makes(User)},
	"ExampleSet_Command":          {makes(User | Net)},
	"ExampleSet_Go":               {makes(Net, LoopbackUp())},
	"ExampleSet_Interfaces":       {makes(User|Net, LoopbackUp())},
	"ExampleSet_Listen":           {makes(User|Net, LoopbackUp())},
	"ExampleSet_OpenFile":         {makes(User | Net)},
	"ExampleSet_Owner":            {makes(User | Net)},
	"ExampleSet_Pin":              {makes(Net | UTS)},
	"ExampleSet_Plan":             {makes(User | Net)},
	"ExampleSet_Run":              {makes(Net)},
	"ExampleSet_Run_needsProcess": {makes(User | Net)},
	"ExampleSet_Self":             {makes(User | Mount | UTS), program("busybox")},
	"ExampleSet_SetWorker":        {makes(User)},
	"ExampleSet_Unshare":          {makes(User | UTS)},
	"ExampleSet_Wait":             {makes(User | PID), program("sh")},
	"ExampleSet_Warm":             {makes(User | UTS)},
	"ExampleSetgroups":            {makes(User, Setgroups(false))},
	"ExampleSubIDs":               {inRanges, makes(User | Mount)},
	"ExampleSysIDMaps":            {makes(User)},
	"ExampleUnshare":              {makes(User | Net | UTS)},
	"ExampleUnshare_cgroup":       {makes(User | Cgroup)},
	"ExampleUnshare_ipc":          {makes(User | IPC)},
	"ExampleUnshare_pid":          {makes(User | PID)},
}

var (
	asHost = exampleNeed{"root", func() error {
		if !testenv.Has(testenv.Host) {
			return errors.New("this is not root of the host")
		}
		return nil
	}}
	timeNS = exampleNeed{"time", func() error {
		if !testenv.Has(testenv.TimeNS) {
			return errors.New("there is no ns/time")
		}
		return nil
	}}
	inRanges = exampleNeed{"subids", makes(User, SubIDs()).missing}
	// rangeFrom100000 is the range that the Example has as a constant.
	rangeFrom100000 = exampleNeed{"subids", func() error {
		if os.Geteuid() == 0 {
			return errors.New("root needs none")
		}
		for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
			if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), ":100000:") {
				return fmt.Errorf("no range in %s begins at 100000: %v", file, err)
			}
		}
		return nil
	}}
)

// makes is for an Example that makes namespaces of these types. They are made here to see that.
func makes(types Type, opts ...UnshareOption) exampleNeed {
	what := "root"
	if types&User != 0 {
		what = "userns"
	}
	return exampleNeed{what, sync.OnceValue(func() error {
		s, err := Unshare(types, opts...)
		if err != nil {
			return err
		}
		return s.Close()
	})}
}

func program(name string) exampleNeed {
	return exampleNeed{"tools", func() error {
		_, err := exec.LookPath(name)
		return err
	}}
}

func init() { beforeTests = skipExamples }

// skipExamples has the testing package leave out the Examples that lack something.
func skipExamples() {
	flag.Parse()
	if run := flag.Lookup("test.run").Value.String(); run != "" && !strings.Contains(run, "Example") {
		return
	}
	var names []string
	if skip := flag.Lookup("test.skip").Value.String(); skip != "" {
		names = append(names, skip)
	}
	for name, needs := range exampleNeeds {
		if slices.ContainsFunc(needs, func(n exampleNeed) bool { return n.missing() != nil }) {
			names = append(names, "^"+name+"$")
		}
	}
	if err := flag.Set("test.skip", strings.Join(names, "|")); err != nil {
		panic(err)
	}
}

func TestExamplesHaveWhatTheyNeed(t *testing.T) {
	for name, needs := range exampleNeeds {
		t.Run(name, func(t *testing.T) {
			for _, n := range needs {
				testenv.Found(t, n.what, n.missing())
			}
		})
	}
}
