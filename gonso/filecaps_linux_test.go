package gonso

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// hashicorp/nomad#16642: what a program may by its file, its launchers may, and what they become may
// not. A thread could do all of it before.
func TestFileCapabilitiesCannotBeLostOnTheWay(t *testing.T) {
	if testenv.IsAgain(t) {
		fileCapabilities(t)
		return
	}
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process, testenv.Tool("cat"))
	c := testenv.Again(t)
	openTo(t, c, 0)
	attr := make([]byte, 20)
	binary.LittleEndian.PutUint32(attr, 0x02000001) // VFS_CAP_REVISION_2, effective
	binary.LittleEndian.PutUint32(attr[4:], 1<<unix.CAP_SYS_ADMIN)
	testenv.Found(t, "filecaps", unix.Setxattr(c.Path, "security.capability", attr, 0))
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	testenv.RunAgain(t, c)
}

// fileCapabilities is in a program of a plain user's that has CAP_SYS_ADMIN by its file.
func fileCapabilities(t *testing.T) {
	testenv.Leaks(t)
	ctx := context.Background()
	const admin, none = "0000000000200000", "0000000000000000"
	for _, types := range []Type{Net, Net | UTS | IPC, PID | Net} {
		s := unshare(t, types)
		for name, c := range map[string]struct {
			caps []uintptr
			want string
		}{"none asked for": {nil, none}, "one asked for": {[]uintptr{unix.CAP_SYS_ADMIN}, admin}} {
			cmd := s.Command(ctx, "cat", "/proc/self/status")
			cmd.AmbientCaps = c.caps
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v, %s: %v: %s", types, name, err, out)
				continue
			}
			status := fields(string(out))
			for _, set := range capSets {
				if status[set] != c.want {
					t.Errorf("%v, %s: %s %s, want %s", types, name, set, status[set], c.want)
				}
			}
		}
		if out, err := s.Self(ctx, "-test.run=^$").CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("%v: Self: %v: %s", types, err, out)
		}
		err := s.Warm(ctx)
		wantError(t, "worker", err, os.ErrPermission, "gonso: start worker", "privileges by its file", "InThread", "ambient")
		if errors.Is(err, ErrWorkerDied) {
			t.Errorf("%v: it was started all the same: %v", types, err)
		}
	}
	// The threads of this process have what they had.
	b, err := os.ReadFile("/proc/self/status")
	if status := fields(string(b)); err != nil || status["CapEff"] != admin || status["CapInh"] != none || status["CapAmb"] != none {
		t.Errorf("this process: %v, %v", status, err)
	}
	// Below a user namespace its root has all, and there is nothing to be lent.
	if p := goIn(t, unshare(t, User|Net)); p.Status["CapEff"] != fullCaps(t) || p.Status["CapAmb"] != none {
		t.Errorf("in a user namespace: CapEff %s, CapAmb %s", p.Status["CapEff"], p.Status["CapAmb"])
	}
}
