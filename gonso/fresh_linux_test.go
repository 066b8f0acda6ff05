package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// devices are the interfaces that a sysfs shows.
var devices = Register("test.fresh.devices", func(_ context.Context, sys string) ([]string, error) {
	entries, err := os.ReadDir(sys + "/class/net")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
})

// The /sys that a mount namespace is copied with shows the interfaces of the host: ip-netns(8) mounts a
// fresh one, and so does who asks for it.
func TestFreshSysCannotShowTheHostsDevices(t *testing.T) {
	testenv.Leaks(t)
	const file = "/proc/self/mountinfo"
	before := valueHere(t, file)
	for _, test := range []struct {
		types Type
		need  []testenv.Req
	}{
		{Mount | Net, []testenv.Req{testenv.Root}},
		{Mount | Net | PID, []testenv.Req{testenv.Root, testenv.Process}},
		{Mount | Net | User, []testenv.Req{testenv.UserNS, testenv.Process}},
		{AllTypes, []testenv.Req{testenv.UserNS, testenv.Process, testenv.TimeNS}},
	} {
		t.Run(test.types.String(), func(t *testing.T) {
			testenv.Need(t, test.need...)
			opts := []UnshareOption{MountSys()}
			if test.types&PID != 0 {
				opts = append(opts, MountProc())
			}
			s, err := Unshare(test.types, opts...)
			if errors.Is(err, unix.EPERM) && test.types&User != 0 {
				testenv.Need(t, testenv.Host) // a container hides parts of /sys
			}
			s = owned(t)(s, err)
			if got, err := devices.Do(t.Context(), dynamically(s), "/sys"); err != nil || strings.Join(got, " ") != "lo" {
				t.Errorf("it shows %q, %v", got, err)
			}
			// What is made later shows the Set's, also where that is there already.
			base := owned(t)(s.Without(Mount))
			if test.types&User == 0 { // in a user namespace that has the mounts of another this is not allowed
				if got, err := devices.Do(t.Context(), dynamically(owned(t)(base.Unshare(Mount, MountSys()))), "/sys"); err != nil || strings.Join(got, " ") != "lo" {
					t.Errorf("of a Set with net it shows %q, %v", got, err)
				}
			}
			later := owned(t)(s.Unshare(Mount, MountSys()))
			if got, err := devices.Do(t.Context(), dynamically(later), "/sys"); err != nil || strings.Join(got, " ") != "lo" {
				t.Errorf("a later one shows %q, %v", got, err)
			}
			f, err := s.OpenFile(t.Context(), "/sys/class/net/lo/mtu", os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		})
	}
	if after := valueHere(t, file); after != before {
		t.Errorf("the host's mounts have changed:\n%s\nwere\n%s", after, before)
	}
}

// For a root that work is to have later.
func TestFreshMountsGoWhereTheyAreAskedFor(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	root := t.TempDir()
	if err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(root+"/proc", 0o755), os.Mkdir(root+"/sys", 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, types := range []Type{User | Mount | Net | PID, Mount | Net} {
		if types&User == 0 && !testenv.Has(testenv.Root) {
			continue
		}
		s, err := Unshare(types, MountProc(root+"/proc"), MountSys(root+"/sys"))
		if errors.Is(err, unix.EPERM) {
			testenv.Need(t, testenv.Host)
		}
		s = owned(t)(s, err)
		if got, err := devices.Do(t.Context(), s, root+"/sys"); err != nil || strings.Join(got, " ") != "lo" {
			t.Errorf("%v: it shows %q, %v", types, got, err)
		}
		if _, err := readLine.Do(t.Context(), s, root+"/proc/version"); err != nil {
			t.Errorf("%v: %v", types, err)
		}
		if _, err := os.Stat(root + "/proc/version"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: on the host: %v", types, err)
		}
		_, err = Unshare(types, MountProc(root+"/missing"))
		wantError(t, "missing", err, fs.ErrNotExist, "mount mnt "+root+"/missing")
	}
	for option, opt := range map[string]UnshareOption{"MountProc": MountProc("proc"), "MountSys": MountSys("/sys\x00")} {
		_, err := Unshare(Mount|Net, opt)
		wantError(t, option, err, os.ErrInvalid, option+": ", "absolute path")
	}
	_, err := Unshare(Net, MountSys())
	wantError(t, "without Mount", err, os.ErrInvalid, "MountSys needs mnt")
}
