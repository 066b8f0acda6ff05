package gonso_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("creates, calls and closes", createCallClose) }

// A daemon in a pid namespace is to die with it, whoever it belongs to.
var daemon = gonso.Register("test.daemon", func(_ context.Context, seconds string) (int, error) {
	c := exec.Command("sleep", seconds)
	if err := c.Start(); err != nil {
		return 0, err
	}
	go c.Wait()
	return c.Process.Pid, nil
}, gonso.StartsGoroutines())

// createCallClose does that, on several goroutines, until it is killed.
func createCallClose() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	sets := []gonso.Type{gonso.User | gonso.PID, gonso.User | gonso.PID | gonso.Mount, gonso.User | gonso.UTS}
	if testenv.Has(testenv.TimeNS) {
		sets = append(sets, gonso.User|gonso.PID|gonso.Time|gonso.Net)
	}
	if testenv.Has(testenv.Root) {
		sets = append(sets, gonso.PID, gonso.Net|gonso.UTS, gonso.PID|gonso.Mount)
	}
	if testenv.Has(testenv.Root, testenv.TimeNS) {
		sets = append(sets, gonso.Time)
	}
	fmt.Println("ready")
	for range 3 {
		go func() {
			for {
				if err := once(sets[rand.N(len(sets))]); err != nil {
					fmt.Println(err)
				}
			}
		}()
	}
	select {}
}

func once(types gonso.Type) error {
	var opts []gonso.UnshareOption
	if types&gonso.Mount != 0 {
		opts = append(opts, gonso.MountProc())
	}
	s, err := gonso.Unshare(types, opts...)
	if err != nil {
		return err
	}
	defer s.Close()
	if types&gonso.PID == 0 {
		_, err = pidInside.Do(context.Background(), s, struct{}{}, gonso.InProcess())
		return err
	}
	if _, err := daemon.Do(context.Background(), s, "600"); err != nil {
		return err
	}
	n, err := s.Unshare(gonso.PID)
	if err != nil {
		return err
	}
	defer n.Close()
	_, err = daemon.Do(context.Background(), n, "601")
	return err
}

var _ = testenv.Long(TestKilledProgramCannotLeaveAnything)
var _ = testenv.AlsoNested(TestKilledProgramCannotLeaveAnything)

// However and whenever this program ends, nothing is left of it: no process, no
// mount, no file.
func TestKilledProgramCannotLeaveAnything(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	// Orphans come to this process, which sees when they end.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	kills := testenv.Times(200, 30)
	tmp := t.TempDir()
	most := 0
	for i := range kills {
		c := testenv.Command(t, "creates, calls and closes")
		c.Env = append(c.Env, "TMPDIR="+tmp)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("it printed %q", lines.Text())
		}
		<-time.After(rand.N(40 * time.Millisecond)) // the moment is what the test is about
		c.Process.Kill()
		most = max(most, len(descendants(t)))
		if lines.Scan() {
			t.Errorf("it printed %q", lines.Text())
		}
		c.Wait()
		var left []int
		if !testenv.Poll(func() bool {
			left = descendants(t)
			for _, pid := range left {
				unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
			return len(left) == 0
		}) {
			for _, pid := range left {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				st, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				t.Errorf("kill %d left process %d: %q %s", i, pid, b, st)
				unix.Kill(pid, unix.SIGKILL)
			}
			t.FailNow()
		}
		if entries, err := os.ReadDir(tmp); err != nil || len(entries) > 0 {
			t.Fatalf("kill %d left %v, %v", i, entries, err)
		}
	}
	t.Logf("%d kills, up to %d processes at one", kills, most)
}

// descendants lists the processes below this one.
func descendants(t testing.TB) []int {
	t.Helper()
	parents := make(map[int][]int)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			parents[parent] = append(parents[parent], pid)
		}
	}
	all := slices.Clone(parents[os.Getpid()])
	for i := 0; i < len(all); i++ {
		all = append(all, parents[all[i]]...)
	}
	return all
}
