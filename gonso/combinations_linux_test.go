package gonso

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var _ = testenv.AlsoNested(TestEveryCombinationOfTypes)

// Every combination of the eight types is made, entered, looked at from inside
// and outside, and gone when it is closed.
func TestEveryCombinationOfTypes(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	for bits := 1; bits < 1<<numTypes; bits++ {
		var types Type
		for i := range typeTable {
			if bits&(1<<i) != 0 {
				types |= typeTable[i].typ
			}
		}
		if types&Time&^timeIfThere() != 0 {
			continue
		}
		s, err := Unshare(types)
		if types&User == 0 && !testenv.Has(testenv.Root) {
			wantError(t, types.String()+" without privileges", err, unix.EPERM, "CAP_SYS_ADMIN")
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", types, err)
			continue
		}
		if !t.Run(types.String(), func(t *testing.T) { lookAtAllOf(t, s, types) }) {
			t.Logf("%v", s.Plan())
		}
		if s.Close(); s.Types() != 0 {
			t.Errorf("%v is open", types)
		}
	}
}

func lookAtAllOf(t *testing.T, s *Set, types Type) {
	in := inside(t, s)
	types.each(func(i int, typ Type) {
		if in[typeTable[i].name] == "" {
			t.Errorf("%v is not new", typ)
		}
	})
	if s.Types() != types {
		t.Errorf("it has %v", s.Types())
	}
	p, err := where.Do(t.Context(), s, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		want := in[l]
		if want == "" {
			want = testenv.Home(l)
		}
		if p.NS[l] != want {
			t.Errorf("from inside %s is %s, want %s", l, p.NS[l], want)
		}
	}
	if s.Plan().Functions.Backend == ThreadBackend {
		h := hold(t, s, true, nil)
		wantLinks(t, os.Getpid(), h.tid, in)
		if err := h.end(); err != nil {
			t.Error(err)
		}
		return
	}
	pid := p.PID
	if types&PID != 0 {
		pid = members(t, s)[p.PID]
	}
	wantLinks(t, pid, 0, in)
	if types&User != 0 && (p.UID != 0 || p.Status["CapEff"] != fullCaps(t)) {
		t.Errorf("uid %d, capabilities %s", p.UID, p.Status["CapEff"])
	}
}

var _ = testenv.Long(TestProgramInsideNamespacesItself)

// What is marked as AlsoNested holds where this program is itself in namespaces:
// as pid 1, and in a user namespace inside a user namespace.
func TestProgramInsideNamespacesItself(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"))
	for name, args := range map[string][]string{
		"pid 1":                  {"--pid", "--fork", "--kill-child", "--mount-proc"},
		"user below user":        {"--user", "--map-root-user", "unshare", "--user", "--map-root-user"},
		"pid 1, user below user": {"--user", "--map-root-user", "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"},
	} {
		if name != "pid 1, user below user" && !testenv.Full() { // it is all of them
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !testenv.Has(testenv.Root) && args[0] != "--user" {
				args = append([]string{"--user", "--map-root-user"}, args...)
			}
			args = append(args, exe(t), "-test.short", "-test.v", "-test.count=1")
			c := exec.CommandContext(t.Context(), "unshare", args...)
			c.Env = append(os.Environ(), testenv.NestedEnv(), "GONSO_TEST_REQUIRE=userns,process")
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, failures(string(out)))
			}
			passed := strings.Count(string(out), "\n--- PASS: ")
			if passed < 10 {
				t.Errorf("%d tests passed:\n%s", passed, out)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}

// exe is this program by a path: /proc/self/exe is another program's once that runs.
func exe(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// failures leaves of a verbose test log what failed.
func failures(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--- PASS") && !strings.HasPrefix(line, "=== ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

var _ = testenv.AlsoNested(TestLoopbackUp)

func TestLoopbackUp(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	typesets := []Type{User | Net, User | Net | PID}
	if testenv.Has(testenv.Root) {
		typesets = append(typesets, Net, Net|IPC, Net|PID)
	}
	for _, types := range typesets {
		for _, up := range []bool{false, true} {
			var opts []UnshareOption
			if up {
				opts = append(opts, LoopbackUp())
			}
			s := unshare(t, types, opts...)
			got, err := loopback.Do(t.Context(), s, struct{}{}, InProcess())
			want := "lo has no address"
			if up {
				want = "127.0.0.1 answers, ::1 answers"
			}
			if err != nil || !strings.Contains(got, want) {
				t.Errorf("%v, up %v: %q, %v", types, up, got, err)
			}
		}
	}
	_, err := Unshare(User, LoopbackUp())
	wantError(t, "without a new net namespace", err, os.ErrInvalid, "LoopbackUp needs net among the types")
}

var _ = testenv.AlsoNested(TestKeepIDs)

// The ids of a worker are root's inside unless that is declined.
func TestKeepIDs(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	for _, c := range []struct {
		name     string
		inside   uint32
		keep     bool
		uid      int
		wantCaps string
	}{
		{"kept, 0 inside", 0, true, 0, fullCaps(t)},
		{"kept, 7 inside", 7, true, 7, fmt.Sprintf("%016x", 0)},
		{"default, 7 inside", 7, false, 7, fullCaps(t)},
	} {
		s := unshare(t, User, IDMaps([]IDMap{{c.inside, uid, 1}}, []IDMap{{c.inside, gid, 1}}))
		if err := s.SetWorker(Worker{KeepIDs: c.keep}); err != nil {
			t.Fatal(err)
		}
		p := goIn(t, s)
		if p.UID != c.uid || p.GID != c.uid || p.Status["CapEff"] != c.wantCaps {
			t.Errorf("%s: uid %d gid %d CapEff %s", c.name, p.UID, p.GID, p.Status["CapEff"])
		}
		if err := s.SetWorker(Worker{}); err == nil || !strings.Contains(err.Error(), "before") {
			t.Errorf("once it runs: %v", err)
		}
	}
	if !testenv.Has(testenv.Host) {
		return
	}
	// With 0 mapped to somebody else, this process's ids are not those of root inside.
	maps := []IDMap{{0, 100000, 10}, {500, uid, 1}}
	s := unshare(t, User, IDMaps(maps, maps))
	if err := s.SetWorker(Worker{KeepIDs: true}); err != nil {
		t.Fatal(err)
	}
	if p := goIn(t, s); p.UID != 500 || p.GID != 500 || len(p.Groups) != 0 {
		t.Errorf("uid %d gid %d groups %v", p.UID, p.GID, p.Groups)
	}
	if p := goIn(t, owned(t)(s.Dup())); p.UID != 0 || p.GID != 0 {
		t.Errorf("a Dup, whose worker is its own: uid %d gid %d", p.UID, p.GID)
	}
}

var loopback = Register("test.loopback", func(ctx context.Context, _ struct{}) (string, error) {
	return tryLoopback(ctx)
}, StartsGoroutines())
