package gonso_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// probing is what a program does to itself before it calls Probe.
const probing = "GONSO_TEST_PROBING"

func init() { testenv.Program("probes", probes) }

// probes is a program that prints what Probe has found out.
func probes() {
	how := os.Getenv(probing)
	if how != "no Init" {
		gonso.Init()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	runtime.LockOSThread() // this program is on its main thread
	switch how {
	case "cancelled":
		cancel(errors.New("no time"))
	case "no_new_privs":
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			print(nil, err)
		}
	case "no capabilities":
		if err := syscall.Setresuid(1, 1, 1); err != nil { // of all threads: Probe runs on others, too
			print(nil, err)
		}
	}
	b, err := json.Marshal(gonso.Probe(ctx))
	print(string(b), err)
}

// probed is the report of a program.
func probed(t *testing.T, how string) (r gonso.Report) {
	t.Helper()
	out := program(t, "probes", func(c *exec.Cmd) { c.Env = append(c.Environ(), probing+"="+how) })
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// wantAnswer compares a check with an answer, and its reason with parts of one.
func wantAnswer(t *testing.T, r *gonso.Report, what string, answer gonso.Answer, why ...string) {
	t.Helper()
	c, ok := r.Of(what)
	if !ok || c.Answer != answer || (c.Answer == gonso.Yes) != (c.Why == "") {
		t.Errorf("%s: %v %v, want %v: %s", what, ok, c.Answer, answer, c.Why)
	}
	for _, w := range why {
		if !strings.Contains(c.Why, w) {
			t.Errorf("%s: %q does not say %q", what, c.Why, w)
		}
	}
}

// What Probe says is what the call says, and it leaves nothing.
func TestProbeAgreesWithTheCalls(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	gonso.Probe(t.Context()) // what lasts
	testenv.Leaks(t)
	r := gonso.Probe(t.Context())
	for what, call := range map[string]func() (*gonso.Set, error){
		"net":                            func() (*gonso.Set, error) { return gonso.Unshare(gonso.Net) },
		"pid":                            func() (*gonso.Set, error) { return gonso.Unshare(gonso.PID) },
		"user":                           func() (*gonso.Set, error) { return gonso.Unshare(gonso.User) },
		"net, in a user namespace":       func() (*gonso.Set, error) { return gonso.Unshare(gonso.User | gonso.Net) },
		"subordinate ids":                func() (*gonso.Set, error) { return gonso.Unshare(gonso.User, gonso.SubIDs()) },
		"new /proc, in a user namespace": func() (*gonso.Set, error) { return gonso.Unshare(gonso.User|gonso.Mount|gonso.PID, gonso.MountProc()) },
	} {
		s, err := call()
		if err != nil {
			wantAnswer(t, r, what, gonso.No, err.Error())
			continue
		}
		s.Close()
		wantAnswer(t, r, what, gonso.Yes)
	}
	wantAnswer(t, r, "worker, in a user namespace", gonso.Yes)
	if len(r.Checks) < 20 || len(r.Facts) < 15 {
		t.Errorf("%d checks, %d facts", len(r.Checks), len(r.Facts))
	}
	for _, c := range r.Checks {
		if (c.Err == nil) != (c.Answer == gonso.Yes) {
			t.Errorf("%s: %v, %v", c.What, c.Answer, c.Err)
		}
	}
	kernel := slices.IndexFunc(r.Facts, func(f gonso.Fact) bool { return f.Name == "kernel" })
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err != nil || kernel < 0 || r.Facts[kernel].Value != strings.TrimSpace(string(release)) {
		t.Errorf("kernel %d of %v, want %s, %v", kernel, r.Facts, release, err)
	}
	// In the text each check is a line, and each fact.
	if lines := strings.Split(r.String(), "\n"); len(lines) != len(r.Checks)+1+len(r.Facts)+1 || !strings.HasPrefix(lines[0], "cgroup  ") {
		t.Errorf("%d lines: %q", len(lines), lines[0])
	}
	b, err := json.Marshal(r)
	var again gonso.Report
	if err != nil || json.Unmarshal(b, &again) != nil || again.String() != r.String() {
		t.Errorf("%s, %v", b, err)
	}
}

// Where something is forbidden, the reason is that, and what could not be tried is not "no".
func TestProbeNamesWhatForbids(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	t.Run("cancelled", func(t *testing.T) {
		r := probed(t, "cancelled")
		for _, c := range r.Checks {
			wantAnswer(t, &r, c.What, gonso.Unknown, "no time")
		}
	})
	t.Run("no Init", func(t *testing.T) {
		r := probed(t, "no Init")
		wantAnswer(t, &r, "user", gonso.Yes)
		wantAnswer(t, &r, "worker, in a user namespace", gonso.Unknown, "the program did not call gonso.Init()")
		wantAnswer(t, &r, "overlay, in a user namespace", gonso.Unknown, "the program did not call gonso.Init()")
	})
	t.Run("no capabilities", func(t *testing.T) {
		testenv.Need(t, testenv.Root)
		r := probed(t, "no capabilities")
		for _, what := range []string{"net", "mnt", "uts"} {
			wantAnswer(t, &r, what, gonso.No, "operation not permitted", "CAP_SYS_ADMIN")
		}
	})
	t.Run("no_new_privs", func(t *testing.T) {
		testenv.Need(t, testenv.Plain, testenv.SubIDs, testenv.Tool("newuidmap"))
		r := probed(t, "no_new_privs")
		wantAnswer(t, &r, "subordinate ids", gonso.No, "newuidmap", "no_new_privs is set")
		wantAnswer(t, &r, "user", gonso.Yes)
	})
	t.Run("sysctl", func(t *testing.T) {
		s, err := gonso.Unshare(gonso.User)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if out, err := s.Command(t.Context(), "sh", "-c", "echo 0 > /proc/sys/user/max_net_namespaces").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		c := s.Self(t.Context())
		c.Env = append(os.Environ(), testenv.ProgramEnv+"=probes")
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		var r gonso.Report
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wantAnswer(t, &r, "net, in a user namespace", gonso.No, "no space left on device", "user.max_net_namespaces is 0")
		wantAnswer(t, &r, "uts, in a user namespace", gonso.Yes)
		if !strings.Contains(fmt.Sprint(r.Facts), "{user.max_net_namespaces 0}") {
			t.Errorf("%v", r.Facts)
		}
	})
}

func TestAnswerText(t *testing.T) {
	for _, a := range []gonso.Answer{gonso.Unknown, gonso.Yes, gonso.No} {
		text, err := a.MarshalText()
		var back gonso.Answer = 7
		if err != nil || string(text) != a.String() || back.UnmarshalText(text) != nil || back != a {
			t.Errorf("%v: %s, %v", a, text, err)
		}
	}
	if _, err := gonso.Answer(3).MarshalText(); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("%v", err)
	}
	var a gonso.Answer
	if err := a.UnmarshalText([]byte("maybe")); !errors.Is(err, os.ErrInvalid) || gonso.Answer(-1).String() != "Answer(-1)" {
		t.Errorf("%v, %v", err, gonso.Answer(-1))
	}
}
