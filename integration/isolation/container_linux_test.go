package isolation

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

const (
	starts    = 500
	firstHost = 100000 // root inside a container is this id outside
)

// report is what testdata/poller prints.
type report struct {
	Rounds, Workers                    int
	Readable, Found, Writable, Control []string
	Refused                            map[string]int
}

// bundle makes what runc runs: the poller as root, with all capabilities of its
// own user namespace.
func bundle(t *testing.T, hostPIDs bool) string {
	t.Helper()
	// Root inside has to get there: not below a directory of the test's own mode.
	dir, err := os.MkdirTemp("", "gonso-isolation-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	rootfs := filepath.Join(dir, "rootfs")
	for _, d := range []string{rootfs, rootfs + "/bin", rootfs + "/proc", rootfs + "/dev"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	need(t, "tools", err)
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rootfs+"/bin/busybox", b, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, "poller", rootfs+"/poller")
	for _, f := range []string{"", "/bin", "/bin/busybox", "/poller", "/proc", "/dev"} {
		if err := os.Chown(rootfs+f, firstHost, firstHost); err != nil {
			t.Fatal(err)
		}
	}

	spec := exec.Command("runc", "spec")
	spec.Dir = dir
	if out, err := spec.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", spec, err, out)
	}
	path := filepath.Join(dir, "config.json")
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	edit(config, hostPIDs)
	if b, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func edit(config map[string]any, hostPIDs bool) {
	type object = map[string]any
	status, _ := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	last, _ := strconv.Atoi(strings.TrimSpace(string(status)))
	var caps []string
	for i, name := range capabilities {
		if i <= last {
			caps = append(caps, name)
		}
	}
	config["hostname"] = "gonso-isolation"
	config["root"].(object)["readonly"] = false
	process := config["process"].(object)
	process["terminal"] = false
	process["args"] = []string{"/poller"}
	process["noNewPrivileges"] = false
	process["capabilities"] = object{"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps, "ambient": caps}

	linux := config["linux"].(object)
	types := []string{"network", "ipc", "uts", "mount", "user"}
	proc := object{"destination": "/proc", "type": "bind", "source": "/proc", "options": []string{"rbind"}}
	if !hostPIDs {
		types = append(types, "pid")
		proc = object{"destination": "/proc", "type": "proc", "source": "proc"}
	}
	var namespaces []object
	for _, t := range types {
		namespaces = append(namespaces, object{"type": t})
	}
	linux["namespaces"] = namespaces
	ids := []object{{"containerID": 0, "hostID": firstHost, "size": 65536}}
	linux["uidMappings"], linux["gidMappings"] = ids, ids
	linux["maskedPaths"], linux["readonlyPaths"] = []string{}, []string{}
	config["mounts"] = []object{proc, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}}}
}

var capabilities = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL
	CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN
	CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT
	CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE
	CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP`)

// dialogue is a program that is talked to line by line.
type dialogue struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func startDialogue(t *testing.T, c *exec.Cmd) *dialogue {
	t.Helper()
	d := &dialogue{Cmd: c}
	c.Stderr = &d.stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if d.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.in.Close()
		c.Process.Kill() // unless it was waited for
		c.Wait()
	})
	return d
}

func (d *dialogue) say(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(d.in, format+"\n", args...); err != nil {
		t.Fatalf("%v\n%s", err, d.stderr.String())
	}
}

func (d *dialogue) hear(t *testing.T) string {
	t.Helper()
	line, err := d.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v after %q\n%s", d.Path, err, line, d.stderr.String())
	}
	return strings.TrimSpace(line)
}

var _ = testenv.Long(TestRootInsideCannotFindTheParentsMemory)

// runc's own history: what joins a container with the memory,
// descriptors or executable of the host's process gives them away to root
// inside (CVE-2016-9962, CVE-2019-5736, CVE-2024-21626).
// Here root inside polls while a program with a secret works in there.
//
// With a pid namespace of its own it does not see the workers, which are outside
// of it; with the host's it sees them all.
func TestRootInsideCannotFindTheParentsMemory(t *testing.T) {
	needRoot(t)
	needTool(t, "runc", "runc")
	needBuild(t)
	needUserNS(t)
	n := testenv.Times(starts, 50)
	for _, hostPIDs := range []bool{false, true} {
		t.Run(fmt.Sprintf("host's pid namespace %v", hostPIDs), func(t *testing.T) {
			dir := bundle(t, hostPIDs)
			starter := filepath.Join(t.TempDir(), "starter")
			build(t, "starter", starter)
			before, err := os.ReadFile(starter)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 32)
			rand.Read(b)
			secret := hex.EncodeToString(b)

			// The parent is there from the start, so that it is looked at, too.
			c := exec.Command(starter)
			c.Env = append(os.Environ(), "SECRET="+secret)
			parent := startDialogue(t, c)

			state := filepath.Join(dir, "state")
			name := "gonso-isolation-" + strconv.Itoa(os.Getpid())
			runc := func(args ...string) *exec.Cmd {
				return exec.Command("runc", append([]string{"--root", state}, args...)...)
			}
			run := runc("run", "--bundle", dir, name)
			poller := startDialogue(t, run)
			// The more it gets to run, the more it sees.
			if err := unix.Setpriority(unix.PRIO_PROCESS, run.Process.Pid, -10); err != nil {
				t.Logf("the poller has no priority: %v", err)
			}
			t.Cleanup(func() { runc("delete", "--force", name).Run() })
			poller.say(t, "%s", secret)
			if s := poller.hear(t); s != "ready" {
				t.Fatalf("the poller says %q", s)
			}
			poller.say(t, "%d", parent.Process.Pid)
			out, err := runc("state", name).Output()
			if err != nil {
				t.Fatal(err)
			}
			var container struct{ Pid int }
			if err := json.Unmarshal(out, &container); err != nil {
				t.Fatal(err)
			}

			parent.say(t, "%d %d", container.Pid, n)
			if s := parent.hear(t); s != strconv.Itoa(n) {
				t.Fatalf("%s\n%s", s, parent.stderr.String())
			}
			poller.in.Close()
			var r report
			if err := json.Unmarshal([]byte(poller.hear(t)), &r); err != nil {
				t.Fatal(err)
			}
			if err := poller.Wait(); err != nil {
				t.Errorf("%v\n%s", err, poller.stderr.String())
			}
			t.Logf("%d starts; root inside made %d rounds, saw %d workers, was refused %v", n, r.Rounds, r.Workers, r.Refused)

			// It finds what there is to find.
			for _, what := range []string{"environ", "mem", "exe"} {
				if !slices.Contains(r.Control, what) {
					t.Errorf("the poller is blind: in its own container it found the secret only in %v", r.Control)
				}
			}
			if hostPIDs && r.Workers == 0 || !hostPIDs && r.Workers != 0 {
				t.Errorf("it saw %d workers", r.Workers)
			}
			if hostPIDs && r.Refused["mem: permission denied"] == 0 {
				t.Errorf("it never tried: %v", r.Refused)
			}
			// Others' processes have nothing for it either.
			if len(r.Found)+len(r.Readable)+len(r.Writable) != 0 {
				t.Errorf("root inside found the secret in %v, could read %v, could write to %v", r.Found, r.Readable, r.Writable)
			}
			if after, err := os.ReadFile(starter); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the host's binary was changed: %v", err)
			}
			parent.in.Close()
			if err := parent.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
