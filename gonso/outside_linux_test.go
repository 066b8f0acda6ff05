package gonso

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// What other programs make is joined, and they find what gonso made.

// sleeps starts a program that becomes sleep, and ends it with the test.
func sleeps(t testing.TB, c *exec.Cmd) (pid int) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	testenv.Eventually(t, c.String()+" has come to its program", func() bool { return isProgram(c.Process.Pid, "sleep") })
	return c.Process.Pid
}

func isProgram(pid int, name string) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.TrimSpace(string(comm)) == name
}

// onlyChild waits for a child that has become the named program.
func onlyChild(t testing.TB, parent int, name string) (pid int) {
	t.Helper()
	testenv.Eventually(t, fmt.Sprintf("the child of %d has come to %s", parent, name), func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", parent))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil && pid > 0 && isProgram(pid, name)
	})
	return pid
}

// joinable are the types that a process can join and make.
const joinable = Cgroup | IPC | Mount | Net | User | UTS

func TestWhatUnshareMadeIsJoined(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	testenv.Leaks(t)
	flags := []string{"--net", "--uts", "--ipc", "--mount", "--cgroup"}
	for name, first := range map[string][]string{
		"mapped root":  {"--user", "--map-root-user"},
		"mapped self":  {"--user", "--map-current-user"},
		"mapped to no": {"--user"},
		"host's":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			if first == nil {
				testenv.Need(t, testenv.Root)
			}
			pid := sleeps(t, exec.Command("unshare", append(append(first, flags...), "sleep", "600")...))
			s := owned(t)(FromPID(pid, joinable))
			in := foreign(t, s)
			if want := 5 + min(len(first), 1); len(in) != want {
				t.Errorf("%d foreign namespaces, want %d: %v", len(in), want, in)
			}
			wantLinks(t, pid, 0, in)
			p := goIn(t, s)
			for typ, want := range in { // from inside: where its owner is not mapped the worker is not dumpable
				if p.NS[typ] != want {
					t.Errorf("the worker is in %s, want %s", p.NS[typ], want)
				}
			}
			if st := statusOf(t, p.PID); first != nil && st["CapEff"] != fullCaps(t) {
				t.Errorf("CapEff %s", st["CapEff"])
			}
			// And made from: the new one is owned by what unshare made.
			more := owned(t)(s.Unshare(Net))
			if first != nil {
				if o := owned(t)(more.Owner(Net)); idOf(t, o, User) != in["user"] {
					t.Errorf("a net namespace made inside is owned by %v", o)
				}
			}
			goIn(t, more)
		})
	}
}

// lsns reads the namespaces of a process as lsns(8) lists them.
func lsns(t testing.TB, pid int) map[string]string {
	t.Helper()
	if text, err := os.Readlink("/proc/1/ns/net"); err == nil && text == "" {
		testenv.Found(t, "nslinks", errors.New("as late releases of Linux 5.10 this one gives an empty link, with which lsns does not end"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*testenv.Limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "lsns", "--json", "--output", "NS,TYPE", "--task", strconv.Itoa(pid)).Output()
	if err != nil {
		t.Fatalf("lsns: %v", err)
	}
	var list struct {
		Namespaces []struct {
			NS   uint64
			Type string
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := make(map[string]string)
	for _, n := range list.Namespaces {
		m[n.Type] = fmt.Sprintf("%s:[%d]", n.Type, n.NS)
	}
	return m
}

func TestLsnsAgrees(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("lsns"))
	testenv.Leaks(t)
	for _, types := range []Type{AllTypes&^Time | timeIfThere(), User | Net, User | PID} {
		s := unshare(t, types)
		pid := goIn(t, s).PID
		if types&PID != 0 {
			pid = members(t, s)[pid]
		}
		got, in := lsns(t, pid), foreign(t, s)
		for i := range typeTable {
			name := typeTable[i].name
			want := in[name]
			if want == "" {
				want = testenv.Home(name)
			}
			if got[name] != want {
				t.Errorf("%v: lsns says %s, gonso %s", types, got[name], want)
			}
		}
	}
}

// nsenter finds in the files of a Set what gonso finds there.
func TestNsenterAgrees(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("nsenter"))
	testenv.Leaks(t)
	s := unshare(t, User|Net|UTS|IPC|Cgroup|PID|timeIfThere())
	var flags []string
	c := exec.Command("nsenter", "--preserve-credentials")
	in := foreign(t, s)
	for i, typ := range singles(s.Types()) {
		f, err := s.File(typ)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
		flags = append(flags, fmt.Sprintf("--%v=/proc/self/fd/%d", typ, 3+i))
	}
	c.Args = append(append(c.Args, flags...), "sh", "-c", "for t in cgroup ipc net pid time user uts; do readlink /proc/self/ns/$t; done")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, typ := range []string{"cgroup", "ipc", "net", "pid", "time", "user", "uts"} {
		if !strings.Contains(string(out), in[typ]+"\n") {
			t.Errorf("nsenter is not in %s:\n%s", in[typ], out)
		}
	}
}

// What is pinned in /run/netns is ip's, and the other way round.
func TestIPNetnsAgrees(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.IPRoute2, testenv.Tool("readlink"))
	testenv.Leaks(t)
	ip, err := testenv.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	s, private := unshare(t, Net), unshare(t, Mount)
	run := func(args ...string) (string, error) {
		out, err := exec.Command(ip, args...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	if err := private.Run(func() error {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			return err
		}
		if err := os.Mkdir("/run/netns", 0o755); err != nil {
			return err
		}
		if err := s.PinNS(Net, "/run/netns/ours"); err != nil {
			return err
		}
		at, err := run("netns", "exec", "ours", "readlink", "/proc/self/ns/net")
		if err != nil {
			return err
		}
		if at != idOf(t, s, Net) {
			t.Errorf("ip netns exec is in %s, want %s", at, idOf(t, s, Net))
		}
		if _, err := run("netns", "delete", "ours"); err != nil {
			return err
		}
		if _, err := run("netns", "add", "theirs"); err != nil {
			return err
		}
		theirs, err := Open("/run/netns/theirs")
		if err != nil {
			return err
		}
		defer theirs.Close()
		if err := theirs.Run(func() error {
			if got := testenv.Self(t, "net"); got != idOf(t, theirs, Net) {
				t.Errorf("in %s, want %v", got, theirs)
			}
			return nil
		}); err != nil {
			return err
		}
		if err := Unpin("/run/netns/theirs"); err != nil {
			return err
		}
		if list, err := run("netns", "list"); err != nil || list != "" {
			t.Errorf("ip netns list: %s, %v", list, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
