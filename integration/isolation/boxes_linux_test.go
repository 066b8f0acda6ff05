package isolation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// A box is a container of runc's, in which root is hostile. Its kind says what root may.
type box struct {
	kind   kind
	pid    int    // of its init, outside
	uid    int    // of root inside, outside
	rootfs string // outside
	runc   func(args ...string) *exec.Cmd
	name   string
}

type kind string

const (
	uns     kind = "uns"     // a user namespace of its own, with all capabilities there
	nouns   kind = "nouns"   // no user namespace, docker's capabilities: root is the host's root
	ptr     kind = "ptr"     // as nouns, with CAP_SYS_PTRACE
	hostpid kind = "hostpid" // as uns, in the host's pid namespace, whose /proc it has
	plain   kind = "plain"   // made by a plain user, who is root inside

	plainHostPID kind = "plainhostpid" // as plain, in the host's pid namespace, whose /proc it has
)

// some are the first two of kinds, and all where tests run at full length.
func some(kinds ...kind) []kind {
	if testenv.Full() {
		return kinds
	}
	return kinds[:2]
}

func (k kind) isPlain() bool { return k == plain || k == plainHostPID }

// plainUID is the plain user of boxes and programs.
const plainUID = 65534

// newBox needs root and runc. The box is gone with the test.
func newBox(t *testing.T, k kind) *box {
	t.Helper()
	return newBoxWith(t, k, func(map[string]any) {})
}

// newBoxWith is newBox with changes to what runc is told.
func newBoxWith(t *testing.T, k kind, change func(config map[string]any)) *box {
	t.Helper()
	needRoot(t)
	needTool(t, "runc", "runc")
	needTool(t, "tools", "busybox")
	if k != nouns && k != ptr {
		needUserNS(t)
	}
	// Root inside, and the plain user, have to get there.
	dir, err := os.MkdirTemp("/tmp", "gonso-box-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &box{kind: k, rootfs: filepath.Join(dir, "rootfs"), name: fmt.Sprintf("gonso-%s-%d", k, os.Getpid())}
	switch k {
	case uns, hostpid:
		b.uid = firstHost
	case plain, plainHostPID:
		b.uid = plainUID
	}
	b.fillRootfs(t)
	for _, d := range []string{"state", "run"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	told := b.config()
	change(told)
	config, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	owner := 0
	if k.isPlain() {
		owner = plainUID
	}
	for _, f := range []string{"", "/state", "/run"} {
		if err := os.Chown(dir+f, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	b.runc = func(args ...string) *exec.Cmd {
		c := exec.Command("runc", append([]string{"--root", filepath.Join(dir, "state")}, args...)...)
		c.Dir = dir
		if k.isPlain() {
			c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run")}
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}}
		}
		return c
	}
	b.start(t)
	return b
}

func (b *box) fillRootfs(t *testing.T) {
	t.Helper()
	for _, d := range []string{"", "/bin", "/proc", "/sys", "/dev", "/tmp", "/work", "/etc"} {
		if err := os.MkdirAll(b.rootfs+d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(b.rootfs+d, b.uid, b.uid); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, busybox, "/bin/busybox")
	for _, applet := range []string{"sh", "cat", "ls", "ln", "mkdir", "mount", "umount", "sleep", "id", "ps", "kill", "readlink", "stat"} {
		if err := os.Symlink("busybox", b.rootfs+"/bin/"+applet); err != nil {
			t.Fatal(err)
		}
	}
}

// put copies a file of the host's to where root inside owns it.
func (b *box) put(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(b.rootfs+to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(dst, src)
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chown(b.rootfs+to, b.uid, b.uid)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dockersCapabilities are those that docker gives to containers.
var dockersCapabilities = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID
	CAP_SETUID CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE`)

// config is what runc is told.
func (b *box) config() map[string]any {
	type object = map[string]any
	caps := dockersCapabilities
	types := []string{"ipc", "uts", "mount", "network"}
	proc := object{"destination": "/proc", "type": "proc", "source": "proc"}
	if b.kind == hostpid || b.kind == plainHostPID {
		proc = object{"destination": "/proc", "type": "bind", "source": "/proc", "options": []string{"rbind"}}
	} else {
		types = append(types, "pid")
	}
	linux := object{}
	switch b.kind {
	case uns, hostpid, plain, plainHostPID:
		types = append(types, "user")
		caps = knownCapabilities()
		size := 65536
		if b.kind.isPlain() {
			size = 1
		}
		ids := []object{{"containerID": 0, "hostID": b.uid, "size": size}}
		linux["uidMappings"], linux["gidMappings"] = ids, ids
	case ptr:
		caps = append([]string{"CAP_SYS_PTRACE"}, caps...)
	}
	var namespaces []object
	for _, t := range types {
		namespaces = append(namespaces, object{"type": t})
	}
	linux["namespaces"] = namespaces
	return object{
		"ociVersion": "1.0.2", "hostname": "gonso-box",
		"root": object{"path": "rootfs"},
		"process": object{
			"user": object{"uid": 0, "gid": 0}, "cwd": "/", "args": []string{"/bin/sleep", "600"},
			"env":          []string{"PATH=/bin"},
			"capabilities": object{"bounding": caps, "effective": caps, "permitted": caps, "inheritable": []string{}, "ambient": []string{}},
		},
		"mounts": []object{proc, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}}},
		"linux":  linux,
	}
}

func knownCapabilities() (caps []string) {
	b, _ := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	last, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	for i, name := range capabilities {
		if i <= last {
			caps = append(caps, name)
		}
	}
	return caps
}

func (b *box) start(t *testing.T) {
	t.Helper()
	b.pid = runContainer(t, b.runc, ".", b.name)
}

// runContainer has runc run a container until the test ends, and returns the process in it.
func runContainer(t *testing.T, runc func(args ...string) *exec.Cmd, bundle, name string) (pid int) {
	t.Helper()
	var log bytes.Buffer
	run := runc("run", "--bundle", bundle, name)
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	t.Cleanup(func() {
		runc("delete", "--force", name).Run()
		run.Process.Kill() // in case it is not there yet
		<-ended
	})
	var state struct {
		Pid    int
		Status string
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for state.Status != "running" {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the container has ended: %v\n%s", err, log.String())
		case <-limit:
			t.Fatalf("the container does not start: %+v", state) // runc still writes the log
		case <-tick.C:
		}
		if out, err := runc("state", name).Output(); err == nil {
			if err := json.Unmarshal(out, &state); err != nil {
				t.Fatal(err)
			}
		}
	}
	return state.Pid
}

// exec is a program that root inside runs.
func (b *box) exec(args ...string) *exec.Cmd {
	return b.runc(append([]string{"exec", b.name}, args...)...)
}

// sh gives what a script of root inside prints.
func (b *box) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := b.exec("/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("inside: %s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// program is this test binary as one of the programs, started by root, or by the plain user who
// made the box.
func (b *box) program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	// A copy, since the plain user need not get to where the test binary is.
	dir, err := os.MkdirTemp("/tmp", "gonso-program-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), testenv.ProgramEnv+"="+name)
	if b.kind.isPlain() {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUID, Gid: plainUID}}
	}
	return c
}

func TestBoxes(t *testing.T) {
	for _, k := range []kind{uns, nouns, ptr, hostpid, plain, plainHostPID} {
		t.Run(string(k), func(t *testing.T) {
			b := newBox(t, k)
			got := b.sh(t, "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/pid")
			t.Logf("%s as pid %d: %q", k, b.pid, got)
			if !strings.HasPrefix(got, "0\n") {
				t.Errorf("%q", got)
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pid))
			if want := fmt.Sprintf("Uid:\t%d\t", b.uid); err != nil || !strings.Contains(string(status), want) {
				t.Errorf("%v, %s", err, status)
			}
		})
	}
}
