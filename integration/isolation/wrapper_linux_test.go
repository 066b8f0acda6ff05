package isolation

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func init() {
	testenv.Program("wrapper's caller", func() {
		os.Unsetenv(testenv.ProgramEnv)
		there, heard, err := listen()
		if err != nil {
			panic(err)
		}
		c := exec.Command(os.Args[1], os.Args[2:]...)
		c.ExtraFiles = []*os.File{there}
		c.Dir = "/"
		// He does all that the launcher does.
		runtime.LockOSThread()
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := c.CombinedOutput()
		there.Close()
		fmt.Printf("%v, greeting %t\n%s", err, heard() > 0, out)
	})
}

// Who calls a privileged wrapper chooses the descriptors, and often argv[0], of what that runs. AT_SECURE
// tells nothing of a program behind one that has become root wholly, or whose capabilities are ambient.
func TestProgramBehindAPrivilegedWrapperCannotBeMadeAWorker(t *testing.T) {
	needRoot(t)
	needBuild(t)
	dir := suidDir(t, "/tmp")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, b, 0o755); err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(dir, "wrapper")
	build(t, "wrapper", wrapper)
	for name, tt := range map[string]struct {
		mode    string
		bits    os.FileMode
		fileCap bool
		ours    uint32 // the caller
		serves  bool
	}{
		"root wholly":         {"root", 0o755 | os.ModeSetuid, false, plainUID, false},
		"of another caller":   {"root", 0o755 | os.ModeSetuid, false, 12345, false},
		"root, forked":        {"fork", 0o755 | os.ModeSetuid, false, plainUID, false},
		"group wholly":        {"group", 0o755 | os.ModeSetgid, false, plainUID, false},
		"ambient":             {"ambient", 0o755, true, plainUID, false},
		"setuid, kept as is":  {"none", 0o755 | os.ModeSetuid, false, plainUID, false},
		"file capabilities":   {"none", 0o755, true, plainUID, true}, // exec drops them
		"not privileged":      {"none", 0o755, false, plainUID, true},
		"root calls for root": {"root", 0o755 | os.ModeSetuid, false, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(wrapper, tt.bits); err != nil {
				t.Fatal(err)
			}
			if tt.fileCap {
				// struct vfs_cap_data of revision 2, effective: see capability.h.
				var data []byte
				for _, v := range []uint32{0x02000001, 1 << unix.CAP_NET_ADMIN, 0, 0, 0} {
					data = binary.LittleEndian.AppendUint32(data, v)
				}
				need(t, "filecaps", unix.Setxattr(wrapper, "security.capability", data, 0))
				defer unix.Removexattr(wrapper, "security.capability")
			}
			c := exec.Command(victim, wrapper, tt.mode, victim)
			c.Env = append(os.Environ(), testenv.ProgramEnv+"=wrapper's caller")
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.ours, Gid: tt.ours}}
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !tt.serves && (!strings.HasPrefix(string(out), "exit status 126, greeting false\n") || !strings.Contains(string(out), "refused to serve as a worker")) {
				t.Errorf("%s", out)
			}
			if tt.serves && !strings.HasPrefix(string(out), "<nil>, greeting true\n") {
				t.Errorf("%s", out)
			}
			t.Logf("%s", out)
		})
	}
	t.Run("a socket of somebody else's", func(t *testing.T) {
		// Whose process is not the parent: that of this test, passed on by a shell that stays.
		there, heard := connection(t)
		c := exec.Command(wrapper, "fork", victim)
		c.ExtraFiles = []*os.File{there}
		out, _ := c.CombinedOutput()
		there.Close()
		if n := heard(); n != 0 || !strings.Contains(string(out), "SO_PEERCRED") {
			t.Errorf("%d greetings: %s", n, out)
		}
	})
}
