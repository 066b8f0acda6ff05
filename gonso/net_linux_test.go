package gonso

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// inNetSets runs f in Sets that a thread enters and that a worker does.
func inNetSets(t *testing.T, f func(t *testing.T, s *Set)) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	for name, types := range map[string]Type{"thread": Net, "worker": User | Net, "worker with mnt": User | Net | Mount} {
		t.Run(name, func(t *testing.T) {
			if types == Net {
				testenv.Need(t, testenv.Root)
			}
			testenv.Leaks(t)
			f(t, unshare(t, types, LoopbackUp()))
		})
	}
}

// cookie identifies the net namespace of a socket.
func cookie(t testing.TB, c syscall.Conn) (id uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			if id, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == unix.ENOPROTOOPT {
				id, err = netInode(int(fd)) // before Linux 5.14
			}
		})
		err = errors.Join(err, cerr)
	}
	if err != nil || id == 0 {
		t.Fatalf("cookie %d, %v", id, err)
	}
	return id
}

// netInode is the inode of a socket's net namespace. Asking for it takes CAP_NET_ADMIN there.
func netInode(socket int) (uint64, error) {
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Ino, err
}

// cookieOf identifies the Set's net namespace, by a socket of its worker's.
func cookieOf(t testing.TB, s *Set) uint64 {
	t.Helper()
	f, err := datagram.Do(t.Context(), s, struct{}{}, InProcess())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return cookie(t, f)
}

var datagram = Register("test.net.datagram", func(context.Context, struct{}) (*os.File, error) {
	return socketArgs{unix.AF_INET, unix.SOCK_DGRAM, 0}.socket()
})

func TestSocketIsBornInside(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		want := cookieOf(t, s)
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM | unix.SOCK_NONBLOCK} {
			f, err := s.Socket(t.Context(), unix.AF_INET6, typ, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := cookie(t, f); got != want {
				t.Errorf("born in %d, want %d", got, want)
			}
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("flags %d, %v", flags, err)
			}
			f.Close()
		}
		_, err := s.Socket(t.Context(), -1, unix.SOCK_STREAM, 0)
		wantError(t, "no such family", err, unix.EAFNOSUPPORT, "socket")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Socket(ctx, unix.AF_INET, unix.SOCK_STREAM, 0)
		wantError(t, "nobody waits", err, context.Canceled)
		_, err = s.Socket(nil, unix.AF_INET, unix.SOCK_STREAM, 0) //nolint:staticcheck // it is what is tested
		wantError(t, "no context", err, os.ErrInvalid, "context")
		s.Close()
		_, err = s.Socket(t.Context(), unix.AF_INET, unix.SOCK_STREAM, 0)
		wantError(t, "closed Set", err, ErrClosed)
	})
}

// serveHTTP serves in a Set, and answers with the path. stop says how often it did.
func serveHTTP(t testing.TB, s *Set, address string) (l net.Listener, stop func() int64) {
	t.Helper()
	want := cookieOf(t, s)
	l, err := s.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if got := cookie(t, l.(*net.TCPListener)); got != want {
		t.Errorf("the listener is in %d, want %d", got, want)
	}
	var served atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.WriteString(w, r.URL.Path)
	}), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if got := cookie(t, c.(*net.TCPConn)); got != want {
			t.Errorf("accepted in %d, want %d", got, want)
		}
		return ctx
	}}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return l, func() int64 {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		return served.Load()
	}
}

// getHTTP makes requests from a Set, and returns how many.
func getHTTP(t testing.TB, s *Set, address string) int64 {
	t.Helper()
	want := cookieOf(t, s)
	requests, clients := testenv.Times(10_000, 800), 8
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := s.DialContext(ctx, network, address)
				if err == nil {
					if got := cookie(t, conn.(*net.TCPConn)); got != want {
						t.Errorf("dialed in %d, want %d", got, want)
					}
				}
				return conn, err
			}}
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			for i := range requests / clients {
				path := fmt.Sprintf("/%d/%d", c, i)
				resp, err := client.Get("http://" + address + path)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != path {
					t.Errorf("%q, %v", b, err)
				}
				if i%100 == 99 {
					tr.CloseIdleConnections()
				}
			}
			tr.CloseIdleConnections()
		})
	}
	wg.Wait()
	return int64(requests / clients * clients)
}

var _ = testenv.Long(TestHTTPThroughSets)

// Ten thousand requests, and every socket where it belongs.
func TestHTTPThroughSets(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		l, stop := serveHTTP(t, s, "127.0.0.1:0")
		sent := getHTTP(t, s, l.Addr().String())
		if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
			c.Close()
			t.Error("the host reaches it")
		}
		if n := stop(); n != sent {
			t.Errorf("%d of %d requests served", n, sent)
		}
	})
}

var ipInside = Register("test.net.ip", func(ctx context.Context, args []string) (string, error) {
	path, err := testenv.LookPath("ip")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return string(out), err
}, StartsGoroutines())

func ip(t testing.TB, s *Set, args ...string) {
	t.Helper()
	if _, err := ipInside.Do(t.Context(), s, args, InProcess()); err != nil {
		t.Fatal(err)
	}
}

var _ = testenv.Long(TestDialFromOneSetToAnother)

// Two Sets that are joined by a cable.
func TestDialFromOneSetToAnother(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.IPRoute2, testenv.Tool("sleep"))
	testenv.Leaks(t)
	a, b := unshare(t, Net), unshare(t, Net)
	c := exec.Command("sleep", "600") // a name for b that ip(8) knows
	if err := b.Run(c.Start); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	ip(t, a, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", fmt.Sprint(c.Process.Pid))
	ip(t, a, "addr", "add", "10.99.0.1/24", "dev", "va")
	ip(t, a, "link", "set", "va", "up")
	ip(t, b, "addr", "add", "10.99.0.2/24", "dev", "vb")
	ip(t, b, "link", "set", "vb", "up")
	l, stop := serveHTTP(t, b, "10.99.0.2:0")
	// As the kernel lists it for a process that is there, by its inode.
	var st unix.Stat_t
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]bool{c.Process.Pid: true, os.Getpid(): false} {
		if listed := strings.Contains(procFile(t, pid, "net/tcp"), fmt.Sprintf(" %d ", st.Ino)); listed != want {
			t.Errorf("/proc/%d/net/tcp lists the listener: %v", pid, listed)
		}
	}
	sent := getHTTP(t, a, l.Addr().String())
	if n := stop(); n != sent {
		t.Errorf("%d of %d requests served", n, sent)
	}
	t.Logf("%d requests", sent)
}

// serveNames is a name server in a Set: names have an address of each family.
func serveNames(t testing.TB, s *Set, address string, names map[string]struct{ v6, v4 net.IP }) {
	t.Helper()
	pc, err := s.ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	go func() {
		defer close(done)
		q := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(q)
			if err != nil {
				return
			}
			if n < 17 {
				continue
			}
			end := 12
			for end < n && q[end] != 0 { // the name's labels
				end += int(q[end]) + 1
			}
			end += 5 // and type and class
			if end > n {
				continue
			}
			typ := binary.BigEndian.Uint16(q[end-4:])
			label := q[13:min(13+int(q[12]), end)]
			var data net.IP
			switch typ {
			case 1:
				data = names[string(label)].v4.To4()
			case 28:
				data = names[string(label)].v6.To16()
			}
			a := append([]byte(nil), q[:end]...)
			a[2], a[3] = 0x81, 0x80 // an answer
			copy(a[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
			if data != nil {
				a[7] = 1
				a = append(a, 0xc0, 12, byte(typ>>8), byte(typ), 0, 1, 0, 0, 0, 60, 0, byte(len(data)))
				a = append(a, data...)
			} else if typ == 1 || typ == 28 {
				a[3] |= 3 // no such name
			}
			pc.WriteTo(a, from)
		}
	}()
}

// nameServer is the first one that the host's resolver asks.
func nameServer(t testing.TB) string {
	t.Helper()
	b, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			return f[1]
		}
	}
	return "127.0.0.1"
}

// golang/go#44922, golang/go#26698, grpc/grpc-go#2706: the second family is dialed
// from a goroutine, which is outside.
func TestDialCannotReachTheHostsNetwork(t *testing.T) {
	testenv.Need(t, testenv.IPRoute2)
	inNetSets(t, func(t *testing.T, s *Set) {
		l4, err := s.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l4.Close()
		_, port, _ := net.SplitHostPort(l4.Addr().String())
		l6, err := s.Listen(t.Context(), "tcp", "[::1]:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer l6.Close()
		outside, err := net.Listen("tcp", l4.Addr().String())
		if err != nil {
			t.Fatalf("a port that is free inside is not free outside, try again: %v", err)
		}
		defer outside.Close()
		var reached atomic.Bool
		go func() {
			for {
				c, err := outside.Accept()
				if err != nil {
					return
				}
				reached.Store(true)
				c.Close()
			}
		}()
		// At the end of the cable nobody has these addresses.
		ip(t, s, "link", "add", "lost", "type", "veth", "peer", "name", "end")
		ip(t, s, "link", "set", "end", "up")
		ip(t, s, "link", "set", "lost", "up")
		ip(t, s, "-6", "addr", "add", "2001:db8::2/64", "dev", "lost", "nodad")
		ip(t, s, "addr", "add", "198.51.100.2/24", "dev", "lost")
		for _, nowhere := range []string{"2001:db8::1", "198.51.100.1"} {
			ip(t, s, "neigh", "add", nowhere, "lladdr", "02:00:00:00:00:01", "dev", "lost")
		}
		server := nameServer(t)
		if !strings.HasPrefix(server, "127.") {
			ip(t, s, "addr", "add", server, "dev", "lo")
		}
		if s.Has(Mount) { // there the configuration inside counts
			if _, err := etcInside.Do(t.Context(), s, map[string]string{"resolv.conf": "nameserver 127.0.0.1\n", "hosts": ""}); err != nil {
				t.Fatal(err)
			}
			server = "127.0.0.1"
		}
		serveNames(t, s, net.JoinHostPort(server, "53"), map[string]struct{ v6, v4 net.IP }{
			"six":  {net.ParseIP("2001:db8::1"), net.IPv4(127, 0, 0, 1)},
			"four": {net.IPv6loopback, net.IPv4(198, 51, 100, 1)},
		})

		for name, l := range map[string]net.Listener{"six": l4, "four": l6} {
			conn, err := s.Dialer(net.Dialer{Timeout: 20 * time.Second, FallbackDelay: time.Millisecond}).
				DialContext(t.Context(), "tcp", name+".test.:"+port)
			if err != nil {
				t.Fatal(err)
			}
			if cookie(t, conn.(*net.TCPConn)) != cookieOf(t, s) {
				t.Error("the connection is elsewhere")
			}
			in, err := l.Accept()
			if err != nil || in.RemoteAddr().String() != conn.LocalAddr().String() {
				t.Errorf("%v, %v", in, err)
			}
			in.Close()
			conn.Close()
		}
		// Whichever of them was tried first.
		for nowhere, here := range map[string]string{"2001:db8::1": "127.0.0.1", "198.51.100.1": "::1"} {
			nd := net.Dialer{FallbackDelay: time.Millisecond, ControlContext: s.control(nil, nil)}
			conn, err := dialOneOf(t.Context(), &nd, "tcp", at(port), []netip.Addr{netip.MustParseAddr(nowhere), netip.MustParseAddr(here)})
			if err != nil || cookie(t, conn.(*net.TCPConn)) != cookieOf(t, s) || !strings.HasPrefix(conn.RemoteAddr().String(), net.JoinHostPort(here, port)) {
				t.Fatalf("%v, %v", conn, err)
			}
			conn.Close()
		}
		// Listening and raw sockets ask inside too.
		for network, at := range map[string][2]string{"tcp": {"six.test.:0", "127.0.0.1"}, "tcp6": {"four.test.:0", "::1"}} {
			l, err := s.Listen(t.Context(), network, at[0])
			if err != nil {
				t.Error(err)
				continue
			}
			if host, _, err := net.SplitHostPort(l.Addr().String()); err != nil || host != at[1] || cookie(t, l.(*net.TCPListener)) != cookieOf(t, s) {
				t.Errorf("%s %s listens at %v, %v", network, at[0], l.Addr(), err)
			}
			l.Close()
		}
		pc, err := s.ListenPacket(t.Context(), "udp", "six.test.:0")
		if err != nil {
			t.Error(err)
		} else {
			pc.Close()
		}
		_, err = s.Listen(t.Context(), "tcp", "four.test.:0")
		wantError(t, "not an address of here", err, unix.EADDRNOTAVAIL)
		_, err = s.Listen(t.Context(), "tcp", "neither.test.:0")
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("listen at no such name: %v", err)
		}
		raw, err := s.DialContext(t.Context(), "ip4:icmp", "six.test.")
		if !testenv.Has(testenv.Root) { // who may have none outside, but inside
			wantError(t, "raw", err, unix.EPERM)
			f, err := s.Socket(t.Context(), unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			if err != nil {
				t.Error(err)
			} else {
				f.Close()
			}
		} else if err != nil || raw.RemoteAddr().String() != "127.0.0.1" {
			t.Errorf("%v, %v", raw, err)
		} else {
			raw.Close()
		}
		// The first family alone goes on waiting, until the time is over or nobody wants it.
		_, err = s.Dialer(net.Dialer{Timeout: 50 * time.Millisecond}).DialContext(t.Context(), "tcp6", "six.test.:"+port)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("black hole: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err = s.DialContext(ctx, "tcp", "[2001:db8::1]:"+port); err == nil || ctx.Err() == nil {
			t.Errorf("cancelled: %v", err)
		}
		if _, err = s.DialContext(t.Context(), "tcp", "neither.test.:"+port); err == nil || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("no such name: %v", err)
		}
		if reached.Load() {
			t.Error("the host was reached")
		}
	})
}

// at makes addresses with the port.
func at(port string) func(netip.Addr) string {
	return func(ip netip.Addr) string { return net.JoinHostPort(ip.String(), port) }
}

// etcInside puts files in place of /etc.
var etcInside = Register("test.net.etc", func(_ context.Context, files map[string]string) (struct{}, error) {
	return struct{}{}, etc(files)
})

func etc(files map[string]string) error {
	err := os.NewSyscallError("mount", unix.Mount("tmpfs", "/etc", "tmpfs", 0, ""))
	for name, content := range files {
		if err == nil {
			err = os.WriteFile("/etc/"+name, []byte(content), 0o644)
		}
	}
	return err
}

func TestDialerHonoursItsFields(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		want := cookieOf(t, s)
		var listened, dialed atomic.Bool
		control := func(seen *atomic.Bool) func(network, address string, rc syscall.RawConn) error {
			return func(network, address string, rc syscall.RawConn) error {
				seen.Store(true)
				if got := cookie(t, rawConn{rc}); got != want {
					t.Errorf("Control sees a socket in %d, want %d", got, want)
				}
				return nil
			}
		}
		l, err := s.ListenConfig(net.ListenConfig{Control: control(&listened)}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d := s.Dialer(net.Dialer{Control: control(&dialed), LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}})
		conn, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if !strings.HasPrefix(conn.LocalAddr().String(), "127.0.0.9:") || !listened.Load() || !dialed.Load() {
			t.Errorf("from %v; Control was called: %v, %v", conn.LocalAddr(), listened.Load(), dialed.Load())
		}
		// Its deadlines work: it is known to the poller.
		conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		refusal := errors.New("not this one")
		_, err = s.Dialer(net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error { return refusal }}).
			Dial("tcp", l.Addr().String())
		wantError(t, "Control refuses", err, refusal)

		outside, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		if outside.Addr().(*net.TCPAddr).Port != l.Addr().(*net.TCPAddr).Port {
			_, err = s.DialContext(t.Context(), "tcp", outside.Addr().String())
			wantError(t, "an address of the host's", err, unix.ECONNREFUSED, "dial tcp", "connection refused")
		}
		_, err = s.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		wantError(t, "without a route", err, unix.ENETUNREACH, "dial tcp")
		_, err = s.DialContext(t.Context(), "tcp", "[fe80::1%nothere]:80")
		wantError(t, "no such interface", err, unix.ENODEV, "nothere")
		_, err = s.DialContext(t.Context(), "tcp", "[fe80::1%lo]:80")
		if err == nil || errors.Is(err, unix.ENODEV) {
			t.Errorf("lo as a zone: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err = s.DialContext(ctx, "tcp", l.Addr().String()); err == nil {
			t.Error("a done context")
		}
		s.Close()
		_, err = s.DialContext(t.Context(), "tcp", l.Addr().String())
		wantError(t, "closed Set", err, ErrClosed, "dial tcp")
		_, err = s.Listen(t.Context(), "tcp", "127.0.0.1:0")
		wantError(t, "closed Set", err, ErrClosed, "listen tcp")
	})
}

type rawConn struct{ rc syscall.RawConn }

func (c rawConn) SyscallConn() (syscall.RawConn, error) { return c.rc, nil }

func TestPacketsAndUnixSockets(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		pc, err := s.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		conn, err := s.DialContext(t.Context(), "udp", pc.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b := make([]byte, 16)
		pc.SetReadDeadline(time.Now().Add(testenv.Limit))
		if _, err := conn.Write([]byte("packet")); err != nil {
			t.Error(err)
		}
		if n, from, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "packet" || from.String() != conn.LocalAddr().String() {
			t.Errorf("%q from %v, %v", b[:n], from, err)
		}

		name := "@gonso-test-" + filepath.Base(t.TempDir())
		l, err := s.Listen(t.Context(), "unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if c, err := net.Dial("unix", name); err == nil {
			c.Close()
			t.Error("the host finds the abstract socket")
		}
		c, err := s.DialContext(t.Context(), "unix", name)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()

		short, err := os.MkdirTemp("", "u") // a path has room for 107 bytes
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(short)
		path := short + "/socket"
		if !s.Has(Mount) {
			l, err := s.Listen(t.Context(), "unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := s.DialContext(t.Context(), "unix", path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			return
		}
		if _, err := mountInside.Do(t.Context(), s, short, InProcess()); err != nil {
			t.Fatal(err)
		}
		echoThrough(t, s, s, path)
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			t.Error("the host finds the socket")
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is outside")
		}
		_, err = s.DialContext(t.Context(), "unix", path)
		wantError(t, "after its end", err, unix.ECONNREFUSED, "dial unix")
		_, err = s.Listen(t.Context(), "unix", path)
		wantError(t, "the file stays", err, unix.EADDRINUSE, "listen unix", "bind")
		_, err = s.DialContext(t.Context(), "unix", path+"/not")
		wantError(t, "no such path", err, unix.ENOTDIR, "dial unix")
		_, err = s.Listen(t.Context(), "unix", path+"/not")
		wantError(t, "no such path", err, unix.ENOTDIR, "listen unix")
		_, err = s.Listen(t.Context(), "unix", short+"/"+strings.Repeat("x", 108))
		wantError(t, "too long", err, unix.EINVAL, "listen unix")
		_, err = s.Listen(t.Context(), "unixgram", short+"/other")
		wantError(t, "not to be listened on", err, net.UnknownNetworkError("unixgram"))
		_, err = s.ListenPacket(t.Context(), "unix", short+"/other")
		wantError(t, "no packets", err, net.UnknownNetworkError("unix"))
		refusal := errors.New("not this one")
		_, err = s.ListenConfig(net.ListenConfig{Control: func(network, address string, rc syscall.RawConn) error {
			if got := cookie(t, rawConn{rc}); network != "unix" || address != short+"/other" || got != cookieOf(t, s) {
				t.Errorf("Control sees %q, %q, a socket in %d", network, address, got)
			}
			return refusal
		}}).Listen(t.Context(), "unix", short+"/other")
		wantError(t, "Control refuses", err, refusal)
		func() {
			defer func() {
				if r := recover(); r != "on purpose" {
					t.Errorf("recovered %v", r)
				}
			}()
			_, err := s.ListenConfig(net.ListenConfig{Control: func(string, string, syscall.RawConn) error { panic("on purpose") }}).
				Listen(t.Context(), "unix", short+"/other")
			t.Errorf("Control panics: %v", err)
		}()
		_, err = s.OpenFile(t.Context(), short+"/other", unix.O_PATH, 0)
		wantError(t, "nothing is left behind", err, os.ErrNotExist)

		pc, err = s.ListenPacket(t.Context(), "unixgram", short+"/packets")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		conn, err = s.DialContext(t.Context(), "unixgram", short+"/packets")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		pc.SetReadDeadline(time.Now().Add(testenv.Limit))
		if _, err := conn.Write([]byte("packet")); err != nil {
			t.Error(err)
		}
		if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "packet" {
			t.Errorf("%q, %v", b[:n], err)
		}
	})
}

// echoThrough has from dial to where at listens, and closes it all.
func echoThrough(t *testing.T, at, from *Set, path string) {
	t.Helper()
	for _, network := range []string{"unix", "unixpacket"} {
		l, err := at.Listen(t.Context(), network, path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := from.DialContext(t.Context(), network, path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetDeadline(time.Now().Add(testenv.Limit))
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(peer, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		for _, c := range []io.Closer{c, peer, l} {
			c.Close()
		}
		if network == "unix" {
			if _, err := removeInside.Do(t.Context(), at, path, InProcess()); err != nil {
				t.Error(err)
			}
		}
	}
}

var removeInside = Register("test.net.remove", func(_ context.Context, path string) (struct{}, error) {
	return struct{}{}, os.Remove(path)
})

func TestOpenFileInside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	for name, types := range map[string]Type{"thread": Mount, "worker": User | Mount, "home": 0} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			s := new(Set)
			if types != 0 {
				if types == Mount {
					testenv.Need(t, testenv.Root)
				}
				s = unshare(t, types)
			}
			dir := t.TempDir()
			if types != 0 {
				if _, err := mountInside.Do(t.Context(), s, dir, InProcess()); err != nil {
					t.Fatal(err)
				}
			}
			f, err := s.OpenFile(t.Context(), dir+"/new", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("inside"); err != nil {
				t.Error(err)
			}
			f.Close()
			if _, err := os.Stat(dir + "/new"); (err == nil) != (types == 0) {
				t.Errorf("outside: %v", err)
			}
			if f, err = s.OpenFile(t.Context(), dir+"/new", os.O_RDONLY, 0); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(f); err != nil || string(b) != "inside" {
				t.Errorf("%q, %v", b, err)
			}
			f.Close()
			_, err = s.OpenFile(t.Context(), dir+"/missing", os.O_RDONLY, 0)
			wantError(t, "missing", err, os.ErrNotExist, "open "+dir+"/missing")
			_, err = s.OpenFile(t.Context(), dir+"/new", os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
			wantError(t, "exists", err, os.ErrExist)
		})
	}
	s := unshare(t, User|Mount)
	s.Close()
	_, err := s.OpenFile(t.Context(), "/", os.O_RDONLY, 0)
	wantError(t, "closed Set", err, ErrClosed)
}

// Whoever made a mount namespace makes the links in it too.
func TestOpenFileCannotBeLedOutside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/plain", []byte("plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/root%s/plain", os.Getpid(), dir), dir+"/out"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("plain", dir+"/in"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/elsewhere", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/root%s/elsewhere", os.Getpid(), dir), dir+"/away"); err != nil {
		t.Fatal(err)
	}
	sets := map[string]*Set{"worker": dynamically(owned(t)(FromPID(sleeper(t, User|Mount), User, Mount)))}
	if testenv.Has(testenv.Root) {
		sets["thread"] = dynamically(owned(t)(FromPID(sleeper(t, Mount), Mount)))
	}
	for name, s := range sets {
		f, err := s.OpenFile(t.Context(), dir+"/in", os.O_RDONLY, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b, err := io.ReadAll(f); err != nil || string(b) != "plain" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		f.Close()
		// A worker that may not trace this process hears of that first.
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, unix.ELOOP) && (name == "thread" || !errors.Is(err, unix.EACCES)) {
				t.Errorf("%s, %s: %v; want %v", name, what, err, unix.ELOOP)
			}
		}
		for _, flag := range []int{os.O_RDONLY, unix.O_PATH} {
			_, err = s.OpenFile(t.Context(), dir+"/out", flag, 0)
			refused("open", err)
		}
		_, err = s.DialContext(t.Context(), "unix", dir+"/out")
		refused("dial", err)
		_, err = s.Listen(t.Context(), "unix", dir+"/away/socket")
		refused("listen", err)
		if _, err := os.Lstat(dir + "/elsewhere/socket"); err == nil {
			t.Errorf("%s: listens outside", name)
		}
	}
	if s := sets["thread"]; s != nil {
		echoThrough(t, s, s, dir+"/socket")
		if cwd, err := os.Getwd(); err != nil || cwd == dir {
			t.Errorf("working directory %s, %v", cwd, err)
		}
	}
}

// Whoever is inside can put a FIFO where a file is expected.
func TestFIFOCannotHangOpenFile(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	sets := map[string]*Set{"home": new(Set), "worker": unshare(t, User|Mount)}
	if testenv.Has(testenv.Root) {
		sets["thread"] = unshare(t, Mount)
		sets["opened"] = owned(t)(FromPID(sleeper(t, Mount), Mount))
	}
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, s := range sets {
		if name == "opened" {
			_, err := s.OpenFile(t.Context(), dir+"/fifo", os.O_RDONLY, 0)
			wantError(t, name, err, os.ErrPermission, "open "+dir+"/fifo: it is a FIFO", "AnyFile")
		}
		r, err := s.OpenFile(t.Context(), dir+"/fifo", os.O_RDONLY, 0, AnyFile())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		w, err := s.OpenFile(t.Context(), dir+"/fifo", os.O_WRONLY, 0, AnyFile())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := w.WriteString("through"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.SetReadDeadline(time.Now().Add(testenv.Limit))
		b := make([]byte, 16)
		if n, err := r.Read(b); err != nil || string(b[:n]) != "through" {
			t.Errorf("%s: %q, %v", name, b[:n], err)
		}
		// It waits now, as there is somebody who may write.
		r.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := r.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
		w.Close()
		_, err = s.OpenFile(t.Context(), dir+"/fifo", os.O_WRONLY, 0, AnyFile())
		wantError(t, name+": nobody reads", err, unix.ENXIO)
		for flag, want := range map[int]int{os.O_RDWR: 0, os.O_RDWR | unix.O_NONBLOCK: unix.O_NONBLOCK} {
			f, err := s.OpenFile(t.Context(), dir+"/file", flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := f.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			raw.Control(func(fd uintptr) {
				if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != want {
					t.Errorf("%s: flags of a file %#x, %v", name, flags, err)
				}
			})
			f.Close()
		}
	}
}

// The bits that open(2) takes are not those of fs.FileMode.
func TestOpenFileModes(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := owned(t)(FromPID(sleeper(t, Mount), Mount))
	dir := t.TempDir()
	for i, perm := range []os.FileMode{0o640, os.ModeSetuid | os.ModeSetgid | 0o755, os.ModeSticky | 0o600} {
		name := fmt.Sprintf("%s/%d", dir, i)
		f, err := s.OpenFile(t.Context(), name, os.O_CREATE|os.O_EXCL, perm)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if fi, err := os.Stat(name); err != nil || fi.Mode() != perm {
			t.Errorf("%v, %v; want %v", fi.Mode(), err, perm)
		}
	}
}

func TestNameIn(t *testing.T) {
	for _, test := range []struct{ network, address, name, with string }{
		{"tcp", "host.test:80", "host.test", "192.0.2.1:80"},
		{"tcp6", "host.test:http", "host.test", "192.0.2.1:http"},
		{"udp", "127.0.0.1:80", "", ""},
		{"udp", "[fe80::1%2]:80", "", ""},
		{"tcp", ":80", "", ""},
		{"tcp", "host.test", "", ""},
		{"ip4:icmp", "host.test", "host.test", "192.0.2.1"},
		{"ip6:58", "::1", "", ""},
		{"unix", "@name:80", "", ""},
		{"unixgram", "dir/name:80", "", ""},
	} {
		name, with := nameIn(test.network, test.address)
		if name != test.name || name != "" && with(netip.MustParseAddr("192.0.2.1")) != test.with {
			t.Errorf("%s %s: %q", test.network, test.address, name)
		}
	}
}
