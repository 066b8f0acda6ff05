package gonso

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// What a kernel is too old for is named, with the kernel that brought it, and nothing that it has.
func TestMissingFeatureIsNamedWithItsKernel(t *testing.T) {
	const without = "cgroup ipc mnt net pid pid_for_children user uts" // as an arm kernel lists /proc/self/ns
	old, young := version{5, 5}, version{6, 1}
	has := typesNamed(strings.Fields(without))
	if has != AllTypes&^Time {
		t.Fatalf("%v", has)
	}
	for name, c := range map[string]struct {
		op    string
		types Type
		err   error
		ev    evidence
		want  []string
		never string
	}{
		"no time namespaces": {"unshare", User | Time, syscall.EINVAL, evidence{has: has},
			[]string{"this kernel has no time namespaces: they came with Linux 5.6", "CONFIG_TIME_NS"}, "user namespaces"},
		"and a filter": {"unshare", Time, syscall.EINVAL, evidence{has: has, seccomp: true}, []string{"no time namespaces"}, "seccomp"},
		"neither user nor cgroup namespaces": {"unshare", User | Cgroup | Net, syscall.EINVAL, evidence{has: AllTypes &^ User &^ Cgroup},
			[]string{"Linux 4.6", "CONFIG_CGROUPS", "Linux 3.8", "CONFIG_USER_NS"}, "CONFIG_NET_NS"},
		"all there are":    {"unshare", User | Time, syscall.EINVAL, evidence{has: AllTypes}, nil, ""},
		"nothing is known": {"unshare", Time, syscall.EINVAL, evidence{}, []string{"possibly the kernel was built without this type"}, ""},
		"openat2":          {"openat2", 0, syscall.ENOSYS, evidence{kernel: old, seccomp: true}, []string{"openat2 came with Linux 5.6, and this is Linux 5.5"}, "seccomp"},
		"close_range":      {"close_range", 0, syscall.ENOSYS, evidence{kernel: old}, []string{"close_range came with Linux 5.9"}, "gVisor"},
		"openat2, young":   {"openat2", 0, syscall.ENOSYS, evidence{kernel: young, seccomp: true}, []string{"(seccomp) forbids openat2", "docker run"}, "came with"},
		"a kernel by name": {"openat2", 0, syscall.ENOSYS, evidence{kernel: young}, []string{"possibly", "gVisor"}, "came with"},
		"mounts":           {"set propagation of", Mount, syscall.ENOSYS, evidence{seccomp: true}, []string{"(seccomp) forbids mount;"}, "propagation"},
		"overlay": {"mount", Mount, syscall.EPERM, evidence{overlay: true, inside: true, kernel: version{5, 10}},
			[]string{"overlay file systems in user namespaces came with Linux 5.11, and this is Linux 5.10"}, "landlock"},
		"overlay, young": {"mount", Mount, syscall.EPERM, evidence{overlay: true, inside: true, kernel: version{5, 11}}, []string{"possibly", "landlock"}, "came with"},
		"no overlay":     {"mount", Mount, syscall.ENODEV, evidence{overlay: true, inside: true, kernel: young}, []string{"no overlay file system", "CONFIG_OVERLAY_FS"}, "came with"},
		"tmpfs":          {"mount", Mount, syscall.ENODEV, evidence{inside: true, kernel: young}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := hint(c.op, c.types, c.err, &c.ev)
			if len(c.want) == 0 && got != "" || c.never != "" && strings.Contains(got, c.never) {
				t.Errorf("%q, with %q in it", got, c.never)
			}
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q, want %q in it", got, part)
				}
			}
		})
	}
}

// A program that goes on without a type asks whether that is there at all.
func TestMissingTypeIsUnsupported(t *testing.T) {
	err := error(newError("unshare", Time, "", missingTypeError{syscall.EINVAL}))
	wantError(t, "as it is", err, errors.ErrUnsupported, "gonso: unshare time: invalid argument")
	wantError(t, "as it is", err, syscall.EINVAL)
	if errors.Is(refused("unshare", Time, syscall.EPERM), errors.ErrUnsupported) {
		t.Error("what is forbidden is taken for what is missing")
	}
}

func TestVersions(t *testing.T) {
	v := version{5, 10}
	if v.before(v) || !v.before(version{5, 11}) || !v.before(version{6, 0}) || v.before(version{4, 20}) || !v.has(v) || v.has(version{6, 1}) {
		t.Errorf("%v", v)
	}
	if none := (version{}); none.before(v) || none.has(v) {
		t.Error("what is not known is compared")
	}
	if k := kernelVersion(); !k.has(version{5, 10}) {
		t.Errorf("this is %v", k)
	}
}

// The same where it is so: kernels of arm have no time namespaces.
func TestKernelWithoutTimeNamespacesIsNamed(t *testing.T) {
	if testenv.Has(testenv.TimeNS) {
		testenv.Found(t, "notime", errors.New("there is a file ns/time"))
	}
	testenv.Need(t, testenv.UserNS, testenv.Process)
	const words = "this kernel has no time namespaces: they came with Linux 5.6, and are there where it was built with CONFIG_TIME_NS"
	_, inside := Unshare(User | Time)
	wantError(t, "unshare", inside, errors.ErrUnsupported, words)
	wantError(t, "unshare", inside, os.ErrNotExist)
	_, err := Current(Time)
	wantError(t, "current", err, errors.ErrUnsupported)
	wantError(t, "current", err, os.ErrNotExist, words)
	_, err = FromPID(os.Getpid(), Time)
	wantError(t, "of a process", err, os.ErrNotExist, words)
	wantError(t, "of a process", err, errors.ErrUnsupported)
	if c, ok := Probe(t.Context()).Of("time, in a user namespace"); !ok || c.Answer != No || c.Why != inside.Error() {
		t.Errorf("Probe: %v %v, and the call %v", ok, c, inside)
	}
	if testenv.Has(testenv.Root) {
		_, err = Unshare(Time)
		wantError(t, "unshare as root", err, errors.ErrUnsupported, words)
	}
	unshare(t, User|Net) // which is there
}

// A socket for ping is refused by a sysctl of the net namespace, which is named inside, too.
func TestRefusedSocketNamesWhatRefusesIt(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net)
	_, err := s.Socket(t.Context(), unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	wantError(t, "ping", err, unix.EACCES, "the sysctl net.ipv4.ping_group_range of its net namespace has no group of this process", "sysctl -w")
	f, err := s.Socket(t.Context(), unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if testenv.Has(testenv.Root) {
		return
	}
	_, err = new(Set).Socket(t.Context(), unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	wantError(t, "raw", err, unix.EPERM, "it takes CAP_NET_RAW in the user namespace that owns the net namespace")
}

func TestParseVersion(t *testing.T) {
	for release, want := range map[string]version{
		"5.10.0-32-cloud-amd64": {5, 10}, "6.1": {6, 1}, "6.12-rc3": {6, 12}, "7.0.0": {7, 0},
		"": {}, "6": {}, "x.1": {}, "6.x": {}, "6.": {},
	} {
		if got := parseVersion(release); got != want {
			t.Errorf("%q: %v, want %v", release, got, want)
		}
	}
}

func TestParseKeyUsers(t *testing.T) {
	const users = "    0:    15 14/14 12/1000000 195/25000000\n 1000:     5 5/5 3/200 57/20000\n 1001: x\n 1002: 1 1/1 a/2 3/4\n"
	for uid, want := range map[uint32]keyQuota{
		0: {0, 12, 1000000, 195, 25000000}, 1000: {1000, 3, 200, 57, 20000}, 100: {}, 1001: {}, 1002: {},
	} {
		if got := parseKeyUsers(users, uid); got != want {
			t.Errorf("%d: %+v, want %+v", uid, got, want)
		}
	}
}
