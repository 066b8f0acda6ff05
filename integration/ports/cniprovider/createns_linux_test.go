package cniprovider

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// removed gets the ids that the plugins are told about.
type removed chan string

func (r removed) Remove(id, _ string) error {
	r <- id
	return nil
}

func provider(t *testing.T) (*cniProvider, removed) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	r := make(removed, 10)
	return &cniProvider{CNI: r, root: t.TempDir()}, r
}

// named makes the namespace of an id, which the test releases.
func named(t *testing.T, c *cniProvider, id string) (n *cniNS, inside string) {
	t.Helper()
	path, err := createNetNS(c, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unmountNetNS(path) })
	if want := filepath.Join(c.root, "net/cni", id); path != want {
		t.Errorf("%s, not %s", path, want)
	}
	s, err := gonso.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	i, err := s.ID(gonso.Net)
	if err != nil {
		t.Error(err)
	}
	return &cniNS{id: id, nativeID: path, handle: c.CNI}, i.String()
}

func TestNamespacesAreBelowTheStateDirectoryUntilReleased(t *testing.T) {
	c, told := provider(t)
	testenv.Leaks(t)
	a, insideA := named(t, c, "a")
	b, insideB := named(t, c, "b")
	if insideA == insideB || insideA == testenv.Home("net") {
		t.Errorf("%s and %s", insideA, insideB)
	}
	if got := testenv.Self(t, "net"); got != testenv.Home("net") {
		t.Errorf("the caller has come to be in %s", got)
	}
	if fi, err := os.Stat(filepath.Join(c.root, "net/cni")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := createNetNS(c, "a"); !errors.Is(err, os.ErrExist) {
		t.Errorf("one of the same id: %v", err)
	}
	for _, n := range []*cniNS{a, b} {
		if err := n.release(); err != nil {
			t.Error(err)
		}
		if id := <-told; id != n.id {
			t.Errorf("%s, not %s", id, n.id)
		}
		if err := errors.Join(unmountNetNS(n.nativeID), deleteNetNS(n.nativeID)); err != nil {
			t.Errorf("once more: %v", err)
		}
	}
	if left, err := os.ReadDir(c.root); err != nil || len(left) > 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// In the original, deleteNetNS of a mounted one fails (EBUSY), as after plugins that failed.
func TestDeletedAlone(t *testing.T) {
	c, _ := provider(t)
	testenv.Leaks(t)
	n, _ := named(t, c, "a")
	if err := deleteNetNS(n.nativeID); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(n.nativeID); err == nil {
		t.Error("it is left")
	}
	// What is no namespace is left alone.
	file := filepath.Join(c.root, "file")
	if err := os.WriteFile(file, []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := deleteNetNS(file); err == nil {
		t.Error("a file was deleted")
	}
}

func TestSpecsHaveThePathOnce(t *testing.T) {
	s := &specs.Spec{}
	for _, path := range []string{"/a", "/b"} {
		if err := setNetNS(s, path); err != nil {
			t.Error(err)
		}
	}
	if want := []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: "/b"}}; !reflect.DeepEqual(s.Linux.Namespaces, want) {
		t.Errorf("%v", s.Linux.Namespaces)
	}
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}}
	if err := setNetNS(s, "/c"); err != nil {
		t.Error(err)
	}
	if want := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace, Path: "/c"}}; !reflect.DeepEqual(s.Linux.Namespaces, want) {
		t.Errorf("%v", s.Linux.Namespaces)
	}
}

func TestWhatAnEarlierRunHasLeftIsReleased(t *testing.T) {
	c, told := provider(t)
	cleanOldNamespaces(c) // there is no directory yet
	named(t, c, "mounted")
	empty := filepath.Join(c.root, "net/cni/empty") // as after a reboot
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Leaks(t)
	cleanOldNamespaces(c)
	ids := []string{<-told, <-told}
	if slices.Sort(ids); !slices.Equal(ids, []string{"empty", "mounted"}) {
		t.Errorf("%q", ids)
	}
	testenv.Eventually(t, "nothing to be left", func() bool {
		left, err := os.ReadDir(filepath.Join(c.root, "net/cni"))
		return len(left) == 0 || errors.Is(err, os.ErrNotExist)
	})
}

func TestPlainUsersLeaveNothingWhereTheyMayNot(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	testenv.Leaks(t)
	c := &cniProvider{root: t.TempDir()}
	if path, err := createNetNS(c, "a"); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%s, %v", path, err)
	}
	if left, err := os.ReadDir(filepath.Join(c.root, "net/cni")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// listening is the port of a listener at both loopback addresses, which tells whether somebody
// came.
func listening(t *testing.T, listen func(network, address string) (net.Listener, error)) (port string) {
	t.Helper()
	four, err := listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { four.Close() })
	_, port, _ = net.SplitHostPort(four.Addr().String())
	if six, err := listen("tcp6", "[::1]:"+port); err == nil { // where there is IPv6
		t.Cleanup(func() { six.Close() })
	}
	return port
}

// The dialer's second address family is tried in a goroutine of its own, and is inside, too.
func TestDialingStaysInside(t *testing.T) {
	c, _ := provider(t)
	n, _ := named(t, c, "a")
	testenv.Leaks(t)
	outside := listening(t, net.Listen)
	conn, err := n.DialContext(t.Context(), "tcp", "localhost:"+outside)
	if err == nil {
		conn.Close()
		t.Errorf("connected with %s", conn.RemoteAddr())
	}

	s, err := gonso.Open(n.nativeID)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Run(up); err != nil {
		t.Fatal(err)
	}
	inside := listening(t, func(network, address string) (net.Listener, error) {
		return s.Listen(context.Background(), network, address)
	})
	if conn, err = n.DialContext(t.Context(), "tcp", "localhost:"+inside); err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// up sets the interface "lo" up, as plugins do.
func up() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// A name server at a loopback address, as that of systemd-resolved, is outside.
func TestLoopbackNameServersAreAskedOutside(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for address, want := range map[string]bool{
		server.LocalAddr().String(): true, "127.0.0.53:53": true, "127.0.0.11": true, "[::1]:53": true,
		"8.8.8.8:53": false, "[2001:4860:4860::8888]:53": false, "example.com:53": false,
	} {
		if isLoopback(address) != want {
			t.Errorf("%s: %t", address, !want)
		}
	}
	c, _ := provider(t)
	n, _ := named(t, c, "a")
	testenv.Leaks(t)
	s, caller, err := n.open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer caller.Close()
	conn, err := resolver(s, caller).Dial(t.Context(), "udp4", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("where?")); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(testenv.Limit)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if got, _, err := server.ReadFrom(b); string(b[:got]) != "where?" {
		t.Errorf("%q, %v", b[:got], err)
	}
	if conn, err := resolver(s, caller).Dial(t.Context(), "udp4", "8.8.8.8:53"); err == nil { // inside is no way there
		conn.Close()
		t.Error("another name server is asked outside")
	}
}
