package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// readLine is what a file holds where it runs.
var readLine = Register("test.inside.read", func(_ context.Context, name string) (string, error) {
	b, err := os.ReadFile(name)
	return strings.TrimSpace(string(b)), err
})

func valueInside(t *testing.T, s *Set, name string) string {
	t.Helper()
	v, err := readLine.Do(t.Context(), dynamically(s), name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func valueHere(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// A Set of every kind that has a net namespace: no other type decides.
// opencontainers/runc#2693
func TestOpenFileCannotSetTheHostsSysctls(t *testing.T) {
	testenv.Leaks(t)
	for _, test := range []struct {
		types Type
		need  []testenv.Req
		name  string
	}{
		{Net, []testenv.Req{testenv.Root}, "/proc/sys/net/ipv4/ip_forward"},
		{Net | Mount, []testenv.Req{testenv.Root}, "/proc/sys/net/ipv4/ip_forward"},
		{Net | UTS | PID, []testenv.Req{testenv.Root, testenv.Process}, "/proc/sys/net/ipv4/ip_forward"},
		{User | Net, []testenv.Req{testenv.UserNS, testenv.Process}, "/proc/sys/net/ipv4/ip_forward"},
		{IPC, []testenv.Req{testenv.Root, testenv.Linux(5, 19)}, "/proc/sys/kernel/msgmni"},
		{IPC | Mount, []testenv.Req{testenv.Root, testenv.Linux(5, 19)}, "/proc/sys/kernel/msgmni"},
		{Net | IPC, []testenv.Req{testenv.Root, testenv.Linux(5, 19)}, "/proc/sys/kernel/msgmni"},
	} {
		t.Run(test.types.String()+filepath.Base(test.name), func(t *testing.T) {
			testenv.Need(t, test.need...)
			s := unshare(t, test.types)
			host := valueHere(t, test.name)
			want := "1"
			if host == "1" {
				want = "0"
			}
			t.Cleanup(func() {
				if now := valueHere(t, test.name); now != host {
					os.WriteFile(test.name, []byte(host), 0)
					t.Errorf("the host's %s became %s", test.name, now)
				}
			})
			f, err := s.OpenFile(t.Context(), test.name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString(want); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(f); err != nil || strings.TrimSpace(string(b)) != want {
				t.Errorf("read %q, %v", b, err)
			}
			if inside := valueInside(t, s, test.name); inside != want {
				t.Errorf("inside it is %s", inside)
			}
		})
	}
}

// hujun-open/zouppp#8
func TestTunnelCannotBeMadeOnTheHost(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Device("/dev/net/tun"))
	testenv.Leaks(t)
	s := unshare(t, Net)
	f, err := s.OpenFile(t.Context(), "/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const name = "gonsotun0"
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifreq.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifreq); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/class/net/" + name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("on the host: %v", err)
	}
	inside, err := os.ReadFile("/proc/self/net/dev")
	if err != nil || strings.Contains(string(inside), name) {
		t.Errorf("on the host: %s, %v", inside, err)
	}
	if err := s.Run(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/dev")
		if !strings.Contains(string(b), name) {
			t.Errorf("inside: %s", b)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What the kernel decides by who reads and writes is refused, and says what to do.
func TestOpenFileCannotGiveWhatMeansAnotherOutside(t *testing.T) {
	testenv.Leaks(t)
	type test struct {
		types Type
		need  []testenv.Req
		name  string
		about Type
	}
	tests := []test{
		{UTS, []testenv.Req{testenv.Root}, "/proc/sys/kernel/hostname", UTS},
		{UTS | Mount, []testenv.Req{testenv.Root}, "/proc/sys/kernel/domainname", UTS},
		{User | UTS, []testenv.Req{testenv.UserNS, testenv.Process}, "/proc/sys/kernel/hostname", UTS},
		{PID, []testenv.Req{testenv.Root, testenv.Process, testenv.Linux(6, 14)}, "/proc/sys/kernel/pid_max", PID},
		{Time, []testenv.Req{testenv.Root, testenv.Process, testenv.TimeNS}, "/proc/uptime", Time},
		{Time, []testenv.Req{testenv.Root, testenv.Process, testenv.TimeNS}, "/proc/stat", Time},
		{Cgroup, []testenv.Req{testenv.Root}, fmt.Sprintf("/proc/%d/cgroup", os.Getpid()), Cgroup},
		{Cgroup, []testenv.Req{testenv.Root}, "/proc/self/mountinfo", Cgroup},
		{Cgroup | Mount, []testenv.Req{testenv.Root}, "/proc/self/mountinfo", Cgroup},
		{User | Cgroup | Mount, []testenv.Req{testenv.UserNS, testenv.Process}, "/proc/self/mountinfo", Cgroup},
		{PID, []testenv.Req{testenv.Root, testenv.Process}, "/proc/loadavg", PID},
		{Net, []testenv.Req{testenv.Root}, "/proc/net", Net},
	}
	cpuset := fmt.Sprintf("/proc/%d/cpuset", os.Getpid())
	if _, err := os.Stat(cpuset); err == nil { // CONFIG_PROC_PID_CPUSET
		tests = append(tests, test{Cgroup, []testenv.Req{testenv.Root}, cpuset, Cgroup})
	}
	for _, test := range tests {
		t.Run(test.types.String()+filepath.Base(test.name), func(t *testing.T) {
			testenv.Need(t, test.need...)
			s := unshare(t, test.types)
			for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, unix.O_PATH} {
				f, err := s.OpenFile(t.Context(), test.name, flag, 0)
				if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EISDIR) {
					continue // such as /proc/uptime for writing
				}
				if err == nil {
					f.Close()
				}
				var e *Error
				wantError(t, test.name, err, errors.ErrUnsupported, test.name, "inside", "registered function")
				if errors.As(err, &e) && e.Type != test.about {
					t.Errorf("it is about %v", e.Type)
				}
			}
			// Where the namespace is this process's own nothing is refused.
			other := owned(t)(s.Without(test.about))
			f, err := other.OpenFile(t.Context(), test.name, os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		})
	}
}

// The remedy that the error names.
func TestHostnameIsWrittenByAClosure(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, UTS|Mount)
	const name = "/proc/sys/kernel/hostname"
	host := valueHere(t, name)
	if err := s.Run(func() error { return os.WriteFile(name, []byte("gonso-inside"), 0) }); err != nil {
		t.Fatal(err)
	}
	if here, inside := valueHere(t, name), valueInside(t, s, name); here != host || inside != "gonso-inside" {
		t.Errorf("%s outside, %s inside", here, inside)
	}
}

func TestIDsOfCgroupsCannotMeanTheHostsProcesses(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.Cgroup2)
	testenv.Leaks(t)
	s := unshare(t, PID)
	tried := 0
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(top + "/cgroup.controllers"); err != nil {
			continue
		}
		for _, name := range []string{"/cgroup.procs", "/cgroup.threads"} {
			f, err := s.OpenFile(t.Context(), top+name, os.O_RDWR, 0)
			if err == nil {
				f.Close()
			}
			wantError(t, name, err, errors.ErrUnsupported, "registered function")
			tried++
		}
	}
	if tried == 0 {
		t.Error("there was none to open")
	}
}

// /proc/self, and so /proc/net and /proc/mounts, is the main thread, which enters nothing.
// cri-o/cri-o#10204
func TestProcSelfCannotShowTheHost(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	read := func(s *Set, name string) string {
		f, err := s.OpenFile(t.Context(), name, os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	dir := t.TempDir()
	for _, s := range []*Set{unshare(t, Net), unshare(t, Net|Mount)} {
		for _, name := range []string{"/proc/net/dev", "/proc/self/net/dev", "/proc//self/./net/dev"} {
			if lines := strings.Count(read(s, name), ":"); lines != 1 {
				t.Errorf("%v: %s has %d interfaces, not only lo", s, name, lines)
			}
		}
		f, err := s.OpenFile(t.Context(), "/proc/self/ns/net", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := owned(t)(FromFiles(f))
		f.Close()
		if idOf(t, got, Net) != idOf(t, s, Net) {
			t.Errorf("/proc/self/ns/net is %v", got)
		}
		// Nothing else is another: what there is of the process is the process.
		if status := fields(read(s, "/proc/self/status")); status["Pid"] != fmt.Sprint(os.Getpid()) {
			t.Errorf("status of %s", status["Pid"])
		}
		if !s.Has(Mount) {
			continue
		}
		if err := s.Run(func() error {
			if err := unix.Mount("gonsoinside", dir, "tmpfs", 0, ""); err != nil {
				return err
			}
			return os.WriteFile(dir+"/inside", []byte("yes"), 0o600)
		}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/proc/mounts", "/proc/self/mounts", "/proc/self/mountinfo"} {
			if !strings.Contains(read(s, name), "gonsoinside") {
				t.Errorf("%s shows other mounts", name)
			}
		}
		if got := read(s, "/proc/self/root"+dir+"/inside"); got != "yes" {
			t.Errorf("/proc/self/root: %q", got)
		}
	}
}

// Whether a name leads to a file of this process is decided where the name has led.
func TestNoSpellingOfProcSelfCanShowTheHost(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	dir := t.TempDir()
	for link, to := range map[string]string{
		"mtab": "/proc/self/mounts", "net": "/proc/net", "twice": dir + "/net", "root": "/proc/self/root", "up": "../../../../../../../../proc/net",
	} {
		if err := os.Symlink(to, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"/marked", "/proc"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("/")
	self := fmt.Sprintf("/proc/%d", os.Getpid())
	for _, test := range []struct {
		types Type
		need  testenv.Req
		opts  []UnshareOption
	}{
		{Net, testenv.Root, nil},
		{Net | Mount, testenv.Root, nil},
		{Net | Mount, testenv.Root, []UnshareOption{MountProc(dir + "/proc")}},
		{Net | Mount | PID, testenv.Root, []UnshareOption{MountProc()}},
		{User | Net | Mount, testenv.UserNS, nil},
		{User | Net | Mount | PID, testenv.UserNS, []UnshareOption{MountProc()}},
	} {
		t.Run(test.types.String(), func(t *testing.T) {
			testenv.Need(t, test.need)
			s := unshare(t, test.types, test.opts...)
			read := func(name string, opts ...OpenOption) string {
				f, err := s.OpenFile(t.Context(), name, os.O_RDONLY, 0, opts...)
				if err != nil {
					t.Error(err)
					return ""
				}
				defer f.Close()
				if f.Name() != name && opts == nil {
					t.Errorf("%s is called %s", name, f.Name())
				}
				b, err := io.ReadAll(f)
				if err != nil {
					t.Error(err)
				}
				return string(b)
			}
			names := []string{
				"/proc/net/dev", "proc/net/dev", "proc/self/net/dev", "//proc/./self/net/dev", "/tmp/../proc/net/dev", "/proc/self/task/../net/dev",
				"/proc/self/net/../net/dev", dir + "/net/dev", dir + "/twice/dev", dir + "/up/dev", "/proc/thread-self/net/dev",
			}
			if !s.Has(PID) && !s.Has(User) { // a thread of this process opens it
				names = append(names, self+"/net/dev", self[1:]+"/net/dev")
			}
			if test.opts != nil && !s.Has(PID) {
				names = append(names, dir+"/proc/net/dev", dir+"/proc/self/net/dev")
			}
			for _, name := range names {
				if n := strings.Count(read(name), ":"); n != 1 {
					t.Errorf("%s has %d interfaces, not only lo", name, n)
				}
			}
			for root, name := range map[string]string{"/": "proc/net/dev", "/proc": "net/dev", "/proc/self": "net/dev", "/proc/net": "/dev", "/proc/self/net/": "dev"} {
				if n := strings.Count(read(name, InRoot(root)), ":"); n != 1 {
					t.Errorf("%s in %s has %d interfaces, not only lo", name, root, n)
				}
			}
			for _, name := range []string{"/proc/self/net/dev/", "/proc/net/nothere", dir + "/net/nothere"} {
				_, err := s.OpenFile(t.Context(), name, os.O_RDONLY, 0)
				if pe, ok := errors.AsType[*fs.PathError](err); !ok || pe.Path != name {
					t.Errorf("%s: %v", name, err)
				}
			}
			if f, err := s.OpenFile(t.Context(), "/proc/self/status", os.O_RDONLY, 0); err != nil {
				t.Error(err)
			} else {
				f.Close()
			}
			if !s.Has(Mount) {
				return
			}
			if _, err := markedMount.Do(t.Context(), s, dir+"/marked"); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{
				"/proc/mounts", "proc/mounts", "/proc/self/mountinfo", "proc/self/mountinfo", "/proc/self/mountstats", dir + "/mtab",
				"/proc/self/root/proc/mounts", "proc/self/root/proc/self/mounts", "/proc/self/cwd/proc/mounts", dir + "/root/proc/mounts",
				dir + "/root" + dir + "/mtab",
			} {
				if !strings.Contains(read(name), "gonsoinside") {
					t.Errorf("%s shows other mounts", name)
				}
			}
			for _, root := range []string{"/proc/self/root", "proc/self/root", "/proc/1/../self/root", dir + "/root"} {
				if got := read(root + dir + "/marked/inside"); got != "yes" {
					t.Errorf("%s: %q", root, got)
				}
				f, err := s.OpenFile(t.Context(), root+dir+"/marked/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					t.Errorf("%s: %v", root, err)
					continue
				}
				f.Close()
				if _, err := os.Lstat(dir + "/marked/new"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: it was made on the host: %v", root, err)
				}
				if _, err := removed.Do(t.Context(), s, dir+"/marked/new"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

var markedMount = Register("test.inside.mark", func(_ context.Context, dir string) (struct{}, error) {
	if err := unix.Mount("gonsoinside", dir, "tmpfs", 0, ""); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, os.WriteFile(dir+"/inside", []byte("yes"), 0o600)
})

var removed = Register("test.inside.remove", func(_ context.Context, name string) (struct{}, error) { return struct{}{}, os.Remove(name) })

// What does not depend on the Set stays what it is outside.
func TestProcSelfOfOneTypeCannotBecomeAThreadsFile(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	for _, s := range []*Set{new(Set), unshare(t, UTS)} {
		f, err := s.OpenFile(t.Context(), "/proc/self/net", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Readdirnames(-1); err != nil { // the thread has ended
			t.Errorf("%v: %v", s, err)
		}
		want, err := os.Readlink("/proc/self/fd/0")
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.OpenFile(t.Context(), "/dev/stdin", unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if got, err := pathOf(int(in.Fd())); err != nil || got != want {
			t.Errorf("%v: /dev/stdin is %s, %v, want %s", s, got, err, want)
		}
	}
}

// farAway maps root inside to an id that is nobody's outside.
func farAway() UnshareOption {
	m := []IDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	return IDMaps(m, m)
}

// refusedInside tries as a registered function what this process could do.
var refusedInside = Register("test.inside.refused", func(ctx context.Context, dir string) ([]string, error) {
	var said []string
	try := func(what string, err error) {
		if !errors.Is(err, fs.ErrPermission) {
			said = append(said, fmt.Sprintf("%s: %v", what, err))
		}
	}
	_, err := os.Open(dir + "/secret")
	try("secret", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	try("raw", err)
	_, err = net.Listen("tcp", "127.0.0.1:81")
	try("tcp", err)
	_, err = net.Dial("unix", dir+"/socket")
	try("unix", err)
	return said, nil
}, StartsGoroutines())

// A Set that has a user namespace and nothing else: whatever is born inside is bound by it as a
// registered function is, whichever other types the Set has or has not.
// moby/moby#20402
func TestUserNamespaceBindsWhatIsBornInside(t *testing.T) {
	testenv.Need(t, testenv.Host, testenv.Process)
	testenv.Leaks(t)
	dir, err := os.MkdirTemp("", "gi")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/secret", []byte("secret"), 0o600),
		os.Mkdir(dir+"/open", 0o755), os.Chmod(dir+"/open", 0o777), os.Mkdir(dir+"/closed", 0o755)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(dir+"/socket", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, types := range []Type{User, User | UTS, User | IPC, User | Mount} {
		t.Run(types.String(), func(t *testing.T) {
			s := unshare(t, types, farAway())
			if said, err := refusedInside.Do(t.Context(), s, dir); err != nil || said != nil {
				t.Fatalf("a registered function: %v, %v", said, err)
			}
			ctx := t.Context()
			refused := func(what string, c io.Closer, err error) {
				t.Helper()
				if err == nil {
					c.Close()
				}
				if !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: %v", what, err)
				}
			}
			f, err := s.OpenFile(ctx, dir+"/secret", os.O_RDONLY, 0)
			refused("OpenFile", f, err)
			f, err = s.OpenFile(ctx, dir+"/closed/new", os.O_WRONLY|os.O_CREATE, 0o600)
			refused("OpenFile of a new one", f, err)
			f, err = s.Socket(t.Context(), unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			refused("Socket", f, err)
			li, err := s.Listen(ctx, "tcp", "127.0.0.1:81")
			refused("Listen", li, err)
			li, err = s.Listen(ctx, "tcp", "localhost:81")
			refused("Listen by name", li, err)
			li, err = s.Listen(ctx, "tcp6", "[::1]:81")
			refused("Listen, IPv6", li, err)
			p, err := s.ListenPacket(ctx, "udp", ":81")
			refused("ListenPacket", p, err)
			p, err = s.ListenPacket(ctx, "ip4:icmp", "127.0.0.1")
			refused("ListenPacket, raw", p, err)
			li, err = s.Listen(ctx, "unix", dir+"/closed/socket")
			refused("Listen, path", li, err)
			c, err := s.DialContext(ctx, "unix", dir+"/socket")
			refused("Dial, path", c, err)
			c, err = s.DialContext(ctx, "ip4:icmp", "127.0.0.1")
			refused("Dial, raw", c, err)
			c, err = s.Dialer(net.Dialer{LocalAddr: &net.UDPAddr{Port: 81}}).DialContext(ctx, "udp", "127.0.0.1:9")
			refused("Dial from a port", c, err)

			// What is allowed has the ids of inside.
			f, err = s.OpenFile(ctx, dir+"/open/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove(dir + "/open/new")
			defer f.Close()
			var st unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Uid != 100000 || st.Gid != 100000 {
				t.Errorf("it belongs to %d:%d, %v", st.Uid, st.Gid, err)
			}
			li, err = s.Listen(ctx, "unix", dir+"/open/socket")
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Stat(dir+"/open/socket", &st); err != nil || st.Uid != 100000 {
				t.Errorf("the socket belongs to %d, %v", st.Uid, err)
			}
			li.Close()
			if _, err := os.Stat(dir + "/open/socket"); types&Mount == 0 && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket stays: %v", err)
			}
			os.Remove(dir + "/open/socket")
			li, err = s.Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			li.Close()
		})
	}
	// In a net namespace of its own root inside may have every port.
	s := unshare(t, User|Net, farAway(), LoopbackUp())
	li, err := s.Listen(t.Context(), "tcp", "127.0.0.1:81")
	if err != nil {
		t.Fatal(err)
	}
	li.Close()
	f, err := s.Socket(t.Context(), unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// Only the Set says where, not where the caller is.
func TestCallerInAnotherSetCannotBringItAlong(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	home := owned(t)(Current(Net))
	in := unshare(t, Net)
	if err := in.Run(func() error {
		f, err := home.OpenFile(t.Context(), "/proc/sys/net/ipv4/conf", os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		f.Close()
		f, err = home.Socket(t.Context(), unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		ns, err := unix.IoctlRetInt(int(f.Fd()), unix.SIOCGSKNS)
		if err != nil {
			return err
		}
		nf := os.NewFile(uintptr(ns), "net")
		defer nf.Close()
		got, err := FromFiles(nf)
		if err != nil {
			return err
		}
		defer got.Close()
		if id := idOf(t, got, Net); id != testenv.Home("net") {
			t.Errorf("the socket is in %s", id)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
