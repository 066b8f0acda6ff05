package isolation

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// guest is a program by root, or by the plain user who made the box.
func (b *box) guest(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	dir := hostDir(t)
	path := filepath.Join(dir, "guest")
	build(t, "guest", path)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, append([]string{what, strconv.Itoa(b.pid)}, args...)...)
	c.Dir = dir
	c.Stderr = os.Stderr
	if b.kind.isPlain() {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}}
	}
	return c
}

// hostDir is a directory that everybody can get to.
func hostDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gonso-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// secret is a file of the guest's that is of nobody's business inside.
func (b *box) secret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(hostDir(t), "secret")
	if err := os.WriteFile(path, []byte("secret of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b.kind.isPlain() {
		if err := os.Chown(path, plainUID, plainUID); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// find starts root inside looking for the file.
func (b *box) find(t *testing.T, secret, seconds string, how ...string) *exec.Cmd {
	t.Helper()
	if _, err := os.Stat(b.rootfs + "/finder"); err != nil {
		path := filepath.Join(hostDir(t), "finder")
		build(t, "finder", path)
		b.put(t, path, "/finder")
	}
	return b.exec(append([]string{"/finder", secret, seconds}, how...)...)
}

// The init of a pid namespace made inside, and workers and commands that join pid but
// not mnt, had the root of the host: root inside went there by /proc/PID/root, and wrote to
// the home of the user who had started them.
func TestRootInsideCannotSeeTheHostsFiles(t *testing.T) {
	for _, k := range some(plain, ptr, nouns, uns, hostpid) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			secret := b.secret(t)
			for what, refused := range map[string]bool{
				"init": false, "init, mnt": false, "worker": false, "command": false,
				"init of pid": true, "worker of pid": true, "command of pid": true, "self of pid": true,
				"worker of pid and a copy": true, "worker of pid and another copy": true,
			} {
				if k == hostpid && refused || strings.HasSuffix(what, "another copy") && k != nouns && k != ptr {
					continue // no pid namespace is joined, or the user namespaces do not go together
				}
				t.Run(what, func(t *testing.T) {
					c := b.guest(t, "hold", what)
					in, err := c.StdinPipe()
					if err != nil {
						t.Fatal(err)
					}
					out, err := c.StdoutPipe()
					if err != nil {
						t.Fatal(err)
					}
					if err := c.Start(); err != nil {
						t.Fatal(err)
					}
					defer c.Wait()
					defer in.Close()
					said := make([]byte, 4096)
					n, err := out.Read(said)
					if err != nil {
						t.Fatal(err)
					}
					line := string(said[:n])
					switch {
					case refused && (!strings.HasPrefix(line, "failed:") || !strings.Contains(line, "Mount") || !strings.Contains(line, "HostFiles")):
						t.Errorf("it is not refused: %s", line)
					case !refused && line != "holding\n":
						t.Fatal(line)
					}
					found, err := b.find(t, secret, "0.1").CombinedOutput()
					if string(found) != "looked true\n" {
						t.Errorf("%s%v", found, err)
					}
					// The mnt namespaces, too, are theirs or empty.
					script := `for p in /proc/[0-9]*; do busybox nsenter --mount=$p/ns/mnt cat ` + secret + ` 2>/dev/null && echo " by ns/mnt of $(cat $p/comm)"; done; true`
					if got := b.sh(t, script); got != "" {
						t.Errorf("%s", got)
					}
				})
			}
		})
	}
}

// As before, while things come and go: what is on its way counts.
func TestRootInsideCannotCatchALauncherWithTheHostsFiles(t *testing.T) {
	for _, k := range some(plain, ptr, nouns, uns, hostpid, plainHostPID) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			finder := b.find(t, b.secret(t), "4", "newest")
			var found bytes.Buffer
			finder.Stdout, finder.Stderr = &found, &found
			if err := finder.Start(); err != nil {
				t.Fatal(err)
			}
			out, err := b.guest(t, "launch").Output()
			if err != nil || string(out) != "launched\n" {
				t.Errorf("%s, %v", out, err)
			}
			if err := finder.Wait(); err != nil || found.String() != "looked true\n" {
				t.Errorf("%s%v", found.String(), err)
			}
		})
	}
}

// A plain user's launcher has to be dumpable for as long as its files in /proc are written. Root inside, who
// has that user's ids, could then see all that it has, if he shares the host's pid namespace.
func TestRootInsideCannotCatchADumpableLauncherWithTheHostsFiles(t *testing.T) {
	b := newBox(t, plainHostPID)
	finder := b.find(t, b.secret(t), "4", "newest")
	var found bytes.Buffer
	finder.Stdout, finder.Stderr = &found, &found
	if err := finder.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := b.guest(t, "nest").Output()
	if err != nil || string(out) != "nested true\n" {
		t.Errorf("%s, %v", out, err)
	}
	if err := finder.Wait(); err != nil || found.String() != "looked true\n" {
		t.Errorf("%s%v", found.String(), err)
	}
}

// Docker's root has no CAP_SYS_PTRACE, and could not open the namespaces of a launcher that is not
// dumpable (moby/moby#52268).
func TestRootWithoutPtraceCannotBeLeftWithoutItsNamespaces(t *testing.T) {
	b := newBox(t, uns)
	needTool(t, "tools", "setpriv")
	c := b.guest(t, "nest")
	c.Args = append([]string{"setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", c.Path}, c.Args[1:]...)
	path, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	c.Path = path
	if out, err := c.Output(); err != nil || string(out) != "nested true\n" {
		t.Errorf("%s, %v", out, err)
	}
}

// CVE-2024-21626: a working directory inside that is a link to a descriptor that was
// inherited by whoever goes there.
func TestRootInsideCannotLeadADirectoryOutside(t *testing.T) {
	for _, k := range some(uns, nouns, plain) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			b.sh(t, `mkdir /links /inside; echo -n inside > /inside/file
				i=0; while [ $i -lt 40 ]; do ln -s /proc/self/fd/$i /links/$i; i=$((i+1)); done`)
			busybox, err := exec.LookPath("busybox")
			if err != nil {
				t.Fatal(err)
			}
			out, err := b.guest(t, "dirs", filepath.Dir(b.secret(t)), busybox).Output()
			if err != nil || string(out) != "inside\ninside\ninside\n" {
				t.Errorf("%s%v", out, err)
			}
		})
	}
}

// CVE-2017-5226: what runs in the session of the caller has his terminal, and types there
// (TIOCSTI).
func TestRootInsideCannotReachTheTerminal(t *testing.T) {
	for _, k := range some(uns, hostpid, nouns, plain) { // with a pid namespace and without
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			if err := unix.Mknod(b.rootfs+"/tty", unix.S_IFCHR|0o666, 5<<8); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(b.rootfs+"/tty", 0o666); err != nil {
				t.Fatal(err)
			}
			pty, tty := newPTY(t)
			c := b.guest(t, "terminal", "/tty")
			if c.SysProcAttr == nil {
				c.SysProcAttr = &syscall.SysProcAttr{}
			}
			c.SysProcAttr.Setsid, c.SysProcAttr.Setctty = true, true
			c.Stdin = tty
			defer pty.Close()
			out, err := c.Output()
			if err != nil || !strings.HasPrefix(string(out), "here: opened, <nil>\n") {
				t.Fatalf("%s%v", out, err)
			}
			for line := range strings.Lines(string(out)) {
				who, what, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch {
				case who == "here":
				case strings.HasPrefix(who, "command"):
					if kept := strings.HasSuffix(who, "true"); kept != (what == "<nil>") {
						t.Error(line)
					}
				case what != unix.ENXIO.Error():
					t.Error(line)
				}
			}
		})
	}
}

func newPTY(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	pty, tty = testenv.Terminal(t)
	t.Cleanup(func() { tty.Close() })
	go io.Copy(io.Discard, pty)
	return pty, tty
}

const none = "0000000000000000" // of capabilities

// CVE-2022-29162 and others: what a program was started with is of use inside.
func TestStateOfTheCallerCannotComeAlong(t *testing.T) {
	for _, k := range some(uns, nouns, ptr) {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			out, err := b.guest(t, "cross").Output()
			if err != nil {
				t.Fatalf("%s%v", out, err)
			}
			if strings.HasPrefix(string(out), "failed") {
				t.Fatalf("%s", out)
			}
			got := make(map[string]string)
			for line := range strings.Lines(string(out)) {
				f := strings.Fields(line)
				if len(f) < 2 {
					t.Fatalf("%s", out)
				}
				got[f[0]+" "+f[1]] = strings.Join(f[2:], " ")
			}
			const set = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGUSR1-1)
			for who, want := range map[string]uint64{"here": set, "worker": 0, "command": set} {
				if ignored, err := strconv.ParseUint(got[who+" SigIgn"], 16, 64); err != nil || ignored&set != want {
					t.Errorf("%s ignores signals %x, want %x of them: %v", who, ignored, want, err)
				}
			}
			// What it was started with is there to come along.
			want := map[string]string{"here Groups": "7 8", "here Umask": "0000", "worker Core": "0"}
			score := "0"
			if here := got["here Score"]; here != "-500" { // the privilege is missing, see TestScoreOfTheSparedCannotComeAlong
				score = here
			}
			for key, v := range got {
				if strings.HasPrefix(key, "here Cap") && strings.Trim(v, "0") == "" {
					t.Errorf("%s: %q", key, v)
				}
			}
			for _, who := range []string{"worker", "command", "original", "init"} {
				for key, v := range map[string]string{"Groups": "", "CapInh": none, "CapAmb": none, "Umask": "0022", "Score": score} {
					want[who+" "+key] = v
				}
			}
			if here := got["here Keyring"]; here != unix.ENOSYS.Error() {
				for _, who := range []string{"worker", "command"} {
					if id, err := strconv.Atoi(got[who+" Keyring"]); err != nil || strconv.Itoa(id) == here {
						t.Errorf("the session keyring of the %s is %d, here it is %s: %v", who, id, here, err)
					}
				}
			}
			for key, want := range want {
				if v, ok := got[key]; v != want || !ok {
					t.Errorf("%s: %q, want %q", key, v, want)
				}
			}
		})
	}
}

// Root inside traces what runs there, also with ids that are not mapped: with those of the
// host's root it writes to /proc/sys.
func TestRootInsideCannotGetIDsThatAreKept(t *testing.T) {
	b := newBox(t, uns)
	out, err := b.guest(t, "ids").Output()
	if err != nil || !strings.Contains(string(out), "command: gonso: start user: Cmd.KeepIDs: ") || !strings.Contains(string(out), "function: gonso: start worker user: Worker.KeepIDs: ") {
		t.Errorf("%s%v", out, err)
	}
	b = newBox(t, plain)
	out, err = b.guest(t, "ids").Output()
	if err != nil || !strings.Contains(string(out), "command: <nil> uid=0") || !strings.Contains(string(out), "function: <nil>") {
		t.Errorf("%s%v", out, err)
	}
}

var (
	_ = testenv.Long(TestRootInsideCannotCatchALauncherWithTheHostsFiles)
	_ = testenv.Long(TestRootInsideCannotLeadADirectoryOutside)
	_ = testenv.Long(TestRootInsideCannotReachTheTerminal)
	_ = testenv.Long(TestRootInsideCannotSeeTheHostsFiles)
	_ = testenv.Long(TestStateOfTheCallerCannotComeAlong)
)
