package gonso

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// clocks are CLOCK_MONOTONIC and CLOCK_BOOTTIME.
type clocks struct{ Monotonic, Boottime time.Duration }

func readClocks() (c clocks, err error) {
	for _, clock := range []struct {
		id int32
		to *time.Duration
	}{{unix.CLOCK_MONOTONIC, &c.Monotonic}, {unix.CLOCK_BOOTTIME, &c.Boottime}} {
		var ts unix.Timespec
		if err := unix.ClockGettime(clock.id, &ts); err != nil {
			return c, err
		}
		*clock.to = time.Duration(ts.Nano())
	}
	return c, nil
}

var clocksInside = Register("test.clocks", func(context.Context, struct{}) (clocks, error) { return readClocks() })

// wantOffsets checks that the clocks inside are ahead of those outside by just that.
func wantOffsets(t testing.TB, s *Set, monotonic, boottime time.Duration) {
	t.Helper()
	before, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	in, err := clocksInside.Do(t.Context(), s, struct{}{}, InProcess())
	if err != nil {
		t.Fatal(err)
	}
	after, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	if m := in.Monotonic - monotonic; m < before.Monotonic || m > after.Monotonic {
		t.Errorf("CLOCK_MONOTONIC is %v inside, between %v and %v outside, want %v more", in.Monotonic, before.Monotonic, after.Monotonic, monotonic)
	}
	if b := in.Boottime - boottime; b < before.Boottime || b > after.Boottime {
		t.Errorf("CLOCK_BOOTTIME is %v inside, between %v and %v outside, want %v more", in.Boottime, before.Boottime, after.Boottime, boottime)
	}
}

// timeTypes makes a time namespace with what the user running the tests has.
func timeTypes(t testing.TB) Type {
	t.Helper()
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.TimeNS)
	if testenv.Has(testenv.Root) {
		return Time
	}
	return User | Time
}

var _ = testenv.AlsoNested(TestTimeOffsets)

func TestTimeOffsets(t *testing.T) {
	typ := timeTypes(t)
	testenv.Leaks(t)
	far := 100 * 365 * 24 * time.Hour
	if bits.UintSize == 32 { // there, clock_gettime(2) of package unix ends after 68 years
		far = 60 * 365 * 24 * time.Hour
	}
	for _, types := range []Type{typ, User | Time, User | Time | PID, User | Time | PID | Mount | Net} {
		for _, c := range []struct{ monotonic, boottime time.Duration }{
			{0, 0}, {time.Hour, 2 * time.Hour}, {-time.Second, -2500 * time.Millisecond}, {1, -1}, {far, far},
		} {
			t.Run(fmt.Sprintf("%v %v %v", types, c.monotonic, c.boottime), func(t *testing.T) {
				s := unshare(t, types, ClockOffsets(c.monotonic, c.boottime))
				wantOffsets(t, s, c.monotonic, c.boottime)
				wantNeedsProcess(t, owned(t)(s.Dup(Time)), "time")
			})
		}
	}
}

var _ = testenv.AlsoNested(TestTimeNamespaceIsACopy)

func TestTimeNamespaceIsACopy(t *testing.T) {
	typ := timeTypes(t)
	testenv.Leaks(t)
	wantOffsets(t, unshare(t, typ), 0, 0)
	s := unshare(t, typ, ClockOffsets(time.Hour, time.Minute))
	n := owned(t)(s.Unshare(Time))
	if idOf(t, s, Time) == idOf(t, n, Time) {
		t.Fatal("it is the same")
	}
	wantOffsets(t, n, time.Hour, time.Minute)
	// Offsets are to the initial one, not to the one it was made from.
	wantOffsets(t, owned(t)(s.Unshare(Time, ClockOffsets(0, time.Second))), 0, time.Second)
	wantOffsets(t, owned(t)(s.Unshare(User|Time, ClockOffsets(5*time.Second, 0))), 5*time.Second, 0)
}

var _ = testenv.AlsoNested(TestTimeOffsetsOutOfRange)

func TestTimeOffsetsOutOfRange(t *testing.T) {
	typ := timeTypes(t)
	testenv.Leaks(t)
	now, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	for what, opt := range map[string]UnshareOption{
		"before the boot":      ClockOffsets(-now.Monotonic-time.Hour, 0),
		"before the boot too":  ClockOffsets(0, -now.Boottime-time.Hour),
		"the least there is":   ClockOffsets(math.MinInt64, 0),
		"more than the kernel": ClockOffsets(0, math.MaxInt64),
	} {
		for _, types := range []Type{typ, typ | PID | Net | User} {
			s, err := Unshare(types, opt)
			wantError(t, what, err, unix.ERANGE, "time", "boot", "146 years")
			if s != nil {
				t.Error("a Set besides the error")
			}
		}
	}
	_, err = Unshare(User, ClockOffsets(time.Hour, 0))
	if err == nil || !strings.Contains(err.Error(), "time among the types") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("without a new time namespace: %v", err)
	}
}

var _ = testenv.AlsoNested(TestTimeRulesOfThreads)

// What the planner relies on: a thread makes a time namespace for its children
// alone, its own directory has no offsets, and nobody with several threads joins.
func TestTimeRulesOfThreads(t *testing.T) {
	testenv.Need(t, testenv.Root)
	timeTypes(t)
	testenv.Leaks(t)
	testenv.OnThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
			t.Error(err)
			return
		}
		self, children := testenv.Self(t, "time"), testenv.Self(t, "time_for_children")
		if self != testenv.Home("time") || children == self {
			t.Errorf("after unshare the thread is in %s, its children in %s", self, children)
		}
		var st unix.Stat_t
		if err := unix.Stat("/proc/thread-self/timens_offsets", &st); err != unix.ENOENT {
			t.Errorf("/proc/thread-self/timens_offsets: %v", err)
		}
		if err := unix.Stat(fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid()), &st); err != nil {
			t.Error(err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/time_for_children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWTIME); err != unix.EUSERS {
			t.Errorf("setns: %v; the rule is EUSERS", err)
		}
	})
}
