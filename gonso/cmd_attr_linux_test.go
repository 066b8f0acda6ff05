package gonso

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// What a program is started with is what it has, as the kernel shows it.
func TestCommandAttr(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	status := func(t *testing.T, s *Set, change func(*Cmd)) map[string]string {
		t.Helper()
		c := s.Command(context.Background(), "cat", "/proc/self/status")
		change(c)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return fields(string(out))
	}
	spaces := func(s string) string { return strings.Join(strings.Fields(s), " ") }

	if testenv.Has(testenv.Root) {
		m := status(t, new(Set), func(c *Cmd) {
			c.Credential = &Credential{UID: 12, GID: 13, Groups: []uint32{14, 15}}
			c.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
		})
		if spaces(m["Uid"]) != "12 12 12 12" || spaces(m["Gid"]) != "13 13 13 13" || spaces(m["Groups"]) != "14 15" ||
			m["CapEff"] != "0000000000000400" || m["CapAmb"] != m["CapEff"] {
			t.Errorf("credential: %v", m)
		}
	}
	if testenv.Has(testenv.UserNS) {
		s := unshare(t, User)
		root := status(t, s, func(*Cmd) {})
		kept := status(t, s, func(c *Cmd) { c.KeepIDs = true })
		caps := status(t, s, func(c *Cmd) {
			c.KeepIDs = true
			c.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
		})
		if root["CapEff"] == "0000000000000000" || kept["CapEff"] != root["CapEff"] && os.Getuid() == 0 {
			t.Errorf("capabilities: %s, ids kept %s", root["CapEff"], kept["CapEff"])
		}
		if caps["CapAmb"] != "0000000000200000" {
			t.Errorf("ambient: %s", caps["CapAmb"])
		}
	}
}

func TestCommandChroot(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Tool("busybox"))
	path, err := testenv.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for p := dir; p != "/" && p != os.TempDir(); p = p[:strings.LastIndexByte(p, '/')] {
		os.Chmod(p, 0o755)
	}
	if err := os.WriteFile(dir+"/busybox", b, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Set{"user": unshare(t, User), "user+pid+mnt": unshare(t, User|PID|Mount)} {
		c := s.Command(context.Background(), "busybox", "sh", "-c", "busybox pwd; busybox ls /")
		c.Chroot, c.Env = dir, []string{"PATH=/"}
		if out, err := c.CombinedOutput(); err != nil || string(out) != "/\nbusybox\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		c = s.Command(context.Background(), "unused")
		exe, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		c.Exe, c.Chroot, c.Args = exe, t.TempDir(), []string{"busybox", "pwd"}
		out, err := c.CombinedOutput()
		exe.Close()
		if err != nil || string(out) != "/\n" {
			t.Errorf("%s, by descriptor: %q, %v", name, out, err)
		}
	}
}

// The signal comes when the thread that started the program ends.
func TestCommandPdeathsig(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	for name, s := range commandSets(t) {
		ctx, cancel := context.WithTimeout(context.Background(), testenv.Limit)
		defer cancel()
		c := s.Command(ctx, "cat")
		c.Pdeathsig = syscall.SIGTERM
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		testenv.OnThread(func() { err = c.Start() })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.Wait(); err == nil || err.Error() != "signal: terminated" {
			t.Errorf("%s: %v", name, err)
		}
		in.Close()
	}
}

// Namespaces are held until Wait has returned, also by a Set that was closed.
func TestCommandOutlivesClose(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Tool("cat"))
	testenv.Leaks(t)
	s := unshare(t, User|PID|Mount)
	c := s.Command(context.Background(), "cat")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	in.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// The program is in its cgroup from the start.
func TestCommandCgroup(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Root, testenv.Tool("cat"))
	root := t.TempDir()
	if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
		testenv.Need(t, testenv.Cgroup2)
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	}()
	dir := root + "/" + filepath.Base(t.TempDir()) + "-gonso"
	if err := os.Mkdir(dir, 0o755); err != nil {
		testenv.Need(t, testenv.Cgroup2)
		t.Fatal(err)
	}
	defer testenv.Eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, s := range commandSets(t) {
		c := s.Command(context.Background(), "cat", "/proc/self/cgroup")
		c.Cgroup = f
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), filepath.Base(dir)+"\n") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		c = s.Command(context.Background(), "cat")
		if c.Cgroup, err = os.Open(os.DevNull); err != nil { // none
			t.Fatal(err)
		}
		if err := c.Run(); err == nil {
			t.Errorf("%s: ran in what is no cgroup", name)
		}
		c.Cgroup.Close()
	}
}
