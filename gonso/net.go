package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gonso/gonso/internal/sys"
)

// A socket belongs to the net namespace where socket(2) was called. So that is
// the one call which is made inside; bind, connect and the rest, and all waiting,
// are done here, by package net: it shows a Control function each socket before
// it uses it, and is given another one, born inside, in its place.

// Socket calls socket(2) inside the Set and returns the socket, which belongs to
// the caller and stays inside whoever uses it. It is close-on-exec. typ may have
// unix.SOCK_NONBLOCK, which the methods of os.File need for deadlines.
//
// The privileges are those of entering the Set's net namespace. In a Set with a
// user namespace it is made by the worker.
func (s *Set) Socket(domain, typ, proto int) (*os.File, error) {
	return s.socket(context.Background(), domain, typ, proto)
}

// DialContext is that of net.Dialer, from inside the Set: see [Set.Dialer]. It is
// of the type that http.Transport.DialContext and others want.
func (s *Set) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return s.Dialer(net.Dialer{}).DialContext(ctx, network, address)
}

// Listen is that of net.ListenConfig, inside the Set: see [Set.ListenConfig].
func (s *Set) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return s.ListenConfig(net.ListenConfig{}).Listen(ctx, network, address)
}

// ListenPacket is that of net.ListenConfig, inside the Set: see [Set.ListenConfig].
func (s *Set) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return s.ListenConfig(net.ListenConfig{}).ListenPacket(ctx, network, address)
}

// Dialer dials from inside a Set. It is made by [Set.Dialer].
type Dialer struct {
	s *Set
	d net.Dialer
}

// Dialer returns a net.Dialer whose sockets are made inside the Set, in whatever
// goroutine: both address families of Happy Eyeballs, and those that ask for
// names. All fields of d are honoured; Control and ControlContext see the socket
// that was made inside.
//
// Names are resolved inside: in a Set with a user or mount namespace by the
// worker, with the configuration that it finds (resolv.conf, hosts), else by Go's
// resolver with the program's configuration, and sockets made inside. A Resolver
// in d is used as it is.
// For raw IP networks ("ip4:icmp") this process needs CAP_NET_RAW itself; [Set.Socket]
// does without. Interface names in zones of IPv6 addresses mean those inside. Unix sockets with
// a path are found in the Set's mount namespace. In one that was opened from outside, links of procfs
// are not followed on the way, as by [Set.OpenFile], and the socket must be one that may be written
// to from where it is looked for: in a Set with a user namespace, by root inside. This process
// is who connects, and is what SO_PEERCRED shows.
//
// The Set must not be closed before the last dialing begins; connections outlive
// it.
func (s *Set) Dialer(d net.Dialer) *Dialer { return &Dialer{s, d} }

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects from inside the Set, as net.Dialer.DialContext does from
// outside. Its errors are those of package net; a Set that cannot be entered is
// the cause of a net.OpError.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	runtime.KeepAlive(d.s)
	return conn, err
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: network, Err: err} }
	foreign, _, err := d.s.foreignTypes("dial")
	if err != nil {
		return fail(err)
	}
	nd := d.d
	if isPath(network, address) {
		if foreign&Mount == 0 {
			return nd.DialContext(ctx, network, address)
		}
		// Where it is in the file system is all that matters.
		f, err := d.s.findSocket(ctx, address)
		if err != nil {
			return fail(err)
		}
		return dialFound(ctx, &nd, network, f)
	}
	if foreign&Net == 0 {
		return nd.DialContext(ctx, network, address)
	}
	address, err = d.s.zoned(ctx, address)
	if err != nil {
		return fail(err)
	}
	nd.ControlContext, nd.Control = d.s.control(nd.ControlContext, nd.Control), nil
	if nd.Resolver != nil {
		return nd.DialContext(ctx, network, address)
	}
	name, with := nameIn(network, address)
	if name == "" {
		return nd.DialContext(ctx, network, address)
	}
	ctx, cancel := within(ctx, &nd)
	defer cancel()
	ips, err := d.s.lookup(ctx, foreign, ipNetwork(network), name)
	if err != nil {
		return fail(err)
	}
	return dialOneOf(ctx, &nd, network, with, ips)
}

// dialFound connects to the socket that f was opened for with O_PATH, and closes f. The thread of this
// goroutine may be in a Set: /proc would be what somebody else has there. That of a new one is not.
//
// The socket may be on a file system that does not answer who wants to connect: then the goroutine is
// left behind.
func dialFound(ctx context.Context, nd *net.Dialer, network string, f *os.File) (net.Conn, error) {
	ctx, cancelDialer := within(ctx, nd)
	ctx, cancelLimit := context.WithTimeout(ctx, dialLimit)
	cancel := func() { cancelLimit(); cancelDialer() }
	var d dialed
	var panicked any
	ended, done := false, make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		defer f.Close()
		defer func() { panicked = recover() }() // of a Control function
		path, err := procPath(f)
		if err == nil {
			d.conn, err = nd.DialContext(ctx, network, path)
		} else {
			err = &net.OpError{Op: "dial", Net: network, Err: err}
		}
		d.err, ended = err, true
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if sys.Done(done, dialPatience) {
			break
		}
		go func() {
			if <-done; d.conn != nil {
				d.conn.Close()
			}
		}()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.Join(context.Cause(ctx), sys.ErrLeftBehind)}
	}
	switch {
	case panicked != nil:
		panic(panicked)
	case !ended:
		runtime.Goexit()
	}
	return d.conn, d.err
}

// dialLimit is how long connecting to a socket that is a file may take, which never waits for who
// listens; dialPatience is how long it may take to end once its context is done.
const (
	dialLimit    = 30 * time.Second
	dialPatience = 100 * time.Millisecond
)

// nameIn finds the host name in an address, "" if there is none to be resolved,
// and gives what makes the same address with an IP address in its place.
func nameIn(network, address string) (name string, with func(netip.Addr) string) {
	switch {
	case strings.HasPrefix(network, "unix"):
		return "", nil
	case strings.HasPrefix(network, "ip"):
		name, with = address, netip.Addr.String
	default:
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", nil // package net says what is wrong with it
		}
		name, with = host, func(ip netip.Addr) string { return net.JoinHostPort(ip.String(), port) }
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", nil
	}
	return name, with
}

// ipNetwork is "ip", "ip4" or "ip6", as network ("tcp4", "ip6:icmp") wants addresses.
func ipNetwork(network string) string {
	base, _, _ := strings.Cut(network, ":")
	if strings.HasSuffix(base, "4") || strings.HasSuffix(base, "6") {
		return "ip" + base[len(base)-1:]
	}
	return "ip"
}

// within bounds ctx by the time limits of nd, which it takes off that.
func within(ctx context.Context, nd *net.Dialer) (context.Context, context.CancelFunc) {
	deadline := nd.Deadline
	if nd.Timeout > 0 {
		if t := time.Now().Add(nd.Timeout); deadline.IsZero() || t.Before(deadline) {
			deadline = t
		}
	}
	nd.Timeout, nd.Deadline = 0, time.Time{}
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline)
}

// dialOneOf tries addresses of the family of the first, and after a while those of
// the other one too (RFC 6555), as package net does with what it resolves itself.
func dialOneOf(ctx context.Context, nd *net.Dialer, network string, with func(netip.Addr) string, ips []netip.Addr) (net.Conn, error) {
	var first, other []netip.Addr
	for _, ip := range ips {
		if ip.Is4() == ips[0].Is4() {
			first = append(first, ip)
		} else {
			other = append(other, ip)
		}
	}
	if nd.FallbackDelay < 0 || len(other) == 0 {
		return dialInTurn(ctx, nd, network, with, ips)
	}
	delay := nd.FallbackDelay
	if delay == 0 {
		delay = 300 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the slower one
	r := &dialRace{results: make(chan dialed), over: make(chan struct{})}
	defer close(r.over)
	dial := func(ips []netip.Addr) func() (net.Conn, error) {
		return func() (net.Conn, error) { return dialInTurn(ctx, nd, network, with, ips) }
	}
	return r.run(dial(first), dial(other), delay)
}

// dialRace has two ways to a connection, of which the second one starts later.
type dialRace struct {
	results chan dialed
	over    chan struct{} // closed when nobody takes results any more
}

type dialed struct {
	conn net.Conn
	err  error
}

// run gives the first connection, or the first error if there is none. The second
// way starts after delay, or when the first one has failed.
func (r *dialRace) run(first, second func() (net.Conn, error), delay time.Duration) (net.Conn, error) {
	go r.start(first)
	wait := time.NewTimer(delay)
	defer wait.Stop()
	var early dialed
	select {
	case <-wait.C:
		go r.start(second)
		early = <-r.results
	case early = <-r.results:
		if early.err != nil {
			go r.start(second)
		}
	}
	if early.err == nil {
		return early.conn, nil
	}
	if late := <-r.results; late.err == nil {
		return late.conn, nil
	}
	return nil, early.err
}

func (r *dialRace) start(dial func() (net.Conn, error)) {
	conn, err := dial()
	select {
	case r.results <- dialed{conn, err}:
	case <-r.over:
		if conn != nil {
			conn.Close()
		}
	}
}

// dialInTurn gives each address its share of the time.
func dialInTurn(ctx context.Context, nd *net.Dialer, network string, with func(netip.Addr) string, ips []netip.Addr) (net.Conn, error) {
	var firstErr error
	for i, ip := range ips {
		share, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && i < len(ips)-1 {
			each := max(time.Until(deadline)/time.Duration(len(ips)-i), 2*time.Second)
			share, cancel = context.WithTimeout(ctx, each)
		}
		conn, err := nd.DialContext(share, network, with(ip))
		cancel()
		if err == nil {
			return conn, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, firstErr
}

// ListenConfig listens inside a Set. It is made by [Set.ListenConfig].
type ListenConfig struct {
	s *Set
	c net.ListenConfig
}

// ListenConfig returns a net.ListenConfig whose sockets are made inside the Set.
// Its fields are honoured; Control sees the socket that was made inside. Names are
// resolved inside, as by [Set.Dialer].
//
// Unix sockets with a path are bound in the Set's mount namespace. If that is not
// this process's, the file stays when the listener is closed: it is the caller's to
// remove. In one that was opened from outside it is made only where the path says: links of procfs
// on the way to it are not followed, its directory is on a file system as [Set.OpenFile] has it, and
// the address that the kernel shows is the last element of the path.
//
// Listeners, and what they accept, outlive the Set.
func (s *Set) ListenConfig(c net.ListenConfig) *ListenConfig { return &ListenConfig{s, c} }

// Listen is that of net.ListenConfig, inside the Set.
func (l *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	defer runtime.KeepAlive(l.s)
	c, address, bound, err := l.inside(ctx, network, address, false)
	switch {
	case err != nil:
		return nil, err
	case bound == nil:
		return c.Listen(ctx, network, address)
	}
	defer bound.Close()
	return net.FileListener(bound)
}

// ListenPacket is that of net.ListenConfig, inside the Set.
func (l *ListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	defer runtime.KeepAlive(l.s)
	c, address, bound, err := l.inside(ctx, network, address, true)
	switch {
	case err != nil:
		return nil, err
	case bound == nil:
		return c.ListenPacket(ctx, network, address)
	}
	defer bound.Close()
	return net.FilePacketConn(bound)
}

// inside gives what to listen with here, or the socket that does so already.
func (l *ListenConfig) inside(ctx context.Context, network, address string, packets bool) (c *net.ListenConfig, to string, bound *os.File, err error) {
	c, to = &l.c, address
	foreign, _, err := l.s.foreignTypes("listen")
	switch {
	case err != nil:
	case isPath(network, address):
		if foreign&Mount != 0 {
			bound, err = l.s.listenAt(ctx, network, address, packets, l.c.Control)
		}
	case foreign&Net != 0:
		to, err = l.s.listenAddress(ctx, foreign, network, address)
		with := l.c
		control := l.s.control(nil, l.c.Control)
		with.Control = func(network, address string, rc syscall.RawConn) error { return control(ctx, network, address, rc) }
		c = &with
	}
	if err != nil {
		return nil, "", nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return c, to, bound, nil
}

// listenAddress is address with interface and host names resolved inside, and as
// in package net IPv4 rather than IPv6.
func (s *Set) listenAddress(ctx context.Context, foreign Type, network, address string) (string, error) {
	address, err := s.zoned(ctx, address)
	if err != nil {
		return "", err
	}
	name, with := nameIn(network, address)
	if name == "" {
		return address, nil
	}
	ips, err := s.lookup(ctx, foreign, ipNetwork(network), name)
	if err != nil {
		return "", err
	}
	return with(ips[max(0, slices.IndexFunc(ips, netip.Addr.Is4))]), nil
}

// isPath: unix sockets with a path belong to a mount namespace, abstract ones and
// unnamed ones to a net namespace.
func isPath(network, address string) bool {
	return strings.HasPrefix(network, "unix") && address != "" && address[0] != '@' && address[0] != 0
}

// control has a socket of package net replaced before anything else sees it.
func (s *Set) control(nextContext func(context.Context, string, string, syscall.RawConn) error,
	next func(string, string, syscall.RawConn) error) func(context.Context, string, string, syscall.RawConn) error {
	return func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		if err := s.replaceSocket(ctx, rc); err != nil {
			return err
		}
		switch {
		case nextContext != nil:
			return nextContext(ctx, network, address, rc)
		case next != nil:
			return next(network, address, rc)
		}
		return nil
	}
}

// OpenOption changes what [Set.OpenFile] opens.
type OpenOption func(*openConfig)

type openConfig struct{ anyFile bool }

// AnyFile has [Set.OpenFile] open whatever it finds, also in a mount namespace that somebody else
// made: devices, FIFOs, sockets (with O_PATH), and files of procfs, sysfs and the like. Whoever is
// inside then chooses among all that this program may open, and can have put a link to any of it
// in the place of what is meant. Links of procfs are not followed all the same. Elsewhere it
// changes nothing.
func AnyFile() OpenOption { return func(c *openConfig) { c.anyFile = true } }

// OpenFile opens a file inside the Set, as os.OpenFile does outside, and returns
// it; it belongs to the caller, and is close-on-exec. A relative name begins at
// the root of the Set's mount namespace, or without one in the Set at the working
// directory.
//
// It is opened with O_NONBLOCK, so that nobody inside can keep the caller waiting
// by putting a FIFO in its place: without anybody at the other end, one opened for
// reading is at its end, and one for writing cannot be opened (ENXIO). Where
// os.OpenFile would have made it block afterwards, so does this. A terminal never
// becomes the controlling one (O_NOCTTY).
//
// In a mount namespace that was opened from outside, or was made inside such, whoever made that
// chooses what the name means, and could have this process open for itself or for the caller what
// they may not. So there:
//
//   - Only regular files and directories are opened, on file systems that keep what was written to
//     them: those of disks and images, tmpfs, overlays, FUSE, network file systems. Devices, FIFOs,
//     sockets, and whatever is on procfs, sysfs, cgroupfs and the like are not, nor is what is on a
//     file system that gonso does not know. The error matches fs.ErrPermission, and [AnyFile] lifts
//     this. What is opened is the file that was looked at, whatever the name means by then.
//   - Links of procfs such as /proc/PID/root are not followed (ELOOP; openat2(2),
//     RESOLVE_NO_MAGICLINKS).
//   - With O_CREATE an existing file is opened, also through links. A new one is made only where
//     the name says: where a link leads nowhere the error is ELOOP. Who wants no file of theirs
//     adds O_EXCL.
//   - O_PATH gives a handle of such a file or directory, or with O_NOFOLLOW of a link.
//
// What is below a directory that was opened there is theirs, too, and absolute links in it mean the
// caller's own root: open such with openat2(2), RESOLVE_IN_ROOT, or with os.Root.
//
// The privileges are those of entering the Set: in one with a user namespace, those of root
// inside; in one with a mount namespace alone, all that this program has. A thread of this process
// opens it, where one can enter, and there nothing ends the wait for a file system that does not
// answer; else the worker, and ctx ends it, as for [Func.Do].
func (s *Set) OpenFile(ctx context.Context, name string, flag int, perm os.FileMode, opts ...OpenOption) (*os.File, error) {
	var c openConfig
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	theirs := ordinaryFile
	if c.anyFile {
		theirs = anyFile
	}
	return s.openFile(ctx, name, flag, perm, theirs)
}
