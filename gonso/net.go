package gonso

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// A socket belongs to the net namespace where socket(2) was called. So only this call is made
// inside. Package net does the rest outside: bind, connect and all waiting. It passes each socket
// to a Control function before it uses the socket. That function replaces the socket with one that
// was made inside.

// Socket calls socket(2) inside the Set and returns the socket. It belongs to the caller, is
// close-on-exec, and stays inside, whichever process uses it. typ may have unix.SOCK_NONBLOCK. The
// methods of os.File need it for deadlines.
//
// It needs the privileges to enter all of the Set. In a Set with a user namespace the worker makes
// the socket, with the privileges of root inside. ctx ends the wait for the worker, as for
// [Func.Do].
func (s *Set) Socket(ctx context.Context, domain, typ, proto int) (*os.File, error) {
	return s.socket(ctx, domain, typ, proto)
}

// DialContext connects from inside the Set, as net.Dialer.DialContext does outside: see
// [Set.Dialer]. It fits the field DialContext of http.Transport.
func (s *Set) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return s.Dialer(net.Dialer{}).DialContext(ctx, network, address)
}

// Listen listens inside the Set, as net.ListenConfig.Listen does outside: see [Set.ListenConfig].
func (s *Set) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return s.ListenConfig(net.ListenConfig{}).Listen(ctx, network, address)
}

// ListenPacket listens inside the Set, as net.ListenConfig.ListenPacket does outside: see
// [Set.ListenConfig].
func (s *Set) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return s.ListenConfig(net.ListenConfig{}).ListenPacket(ctx, network, address)
}

// Dialer dials from inside a Set. It is made by [Set.Dialer].
type Dialer struct {
	s *Set
	d net.Dialer
}

// Dialer returns a net.Dialer whose sockets are made inside the Set, in every goroutine. This holds
// for both address families of Happy Eyeballs, and for the sockets that ask name servers. All
// fields of d are honoured. Control and ControlContext get the socket that was made inside.
//
// Names are resolved inside. In a Set with a user or mount namespace the worker does it, with the
// configuration inside (resolv.conf, hosts). In other Sets Go's resolver does it, with the
// program's configuration and sockets made inside. A Resolver in d is used as it is. [Set.Resolver]
// makes one with name servers of the Set's own. The hooks of net/http/httptrace are called in every
// Set as outside. Work inside must be allowed to bind the port of a LocalAddr. For raw IP networks
// ("ip4:icmp") this process needs CAP_NET_RAW itself. [Set.Socket] does not need it.
//
// Zones of IPv6 addresses mean the interfaces inside, by name or number: in the dialed address, in
// hosts(5), in LocalAddr, and in the addresses of connections and errors. A UDP or raw IP
// connection with a zone is not a *net.UDPConn or *net.IPConn, but has all of their methods.
//
// Unix sockets with a path are found in the Set's mount namespace. A LocalAddr with a path is bound
// there, and the caller removes the file. Abstract names belong to the Set's net namespace. This
// process connects, and SO_PEERCRED shows it.
//
// In a mount namespace that was opened from outside, links of procfs on the way are not followed,
// as by [Set.OpenFile]. Work inside must be allowed to write to the socket: root inside, in a Set
// with a user namespace.
//
// Close the Set after the last dialing has begun. Connections outlive it.
func (s *Set) Dialer(d net.Dialer) *Dialer { return &Dialer{s, d} }

// Dial is DialContext without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects from inside the Set, as net.Dialer.DialContext does from outside. Its errors
// are the errors of package net. If the Set cannot be entered, that error is in a net.OpError.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		err = d.s.loopbackHint(ctx, err)
	}
	runtime.KeepAlive(d.s)
	return conn, err
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: network, Err: err} }
	foreign, _, err := d.s.foreignTypes(ctx, "dial")
	if err != nil {
		return fail(err)
	}
	nd := d.d
	switch {
	case strings.HasPrefix(network, "unix"):
		return d.s.dialUnix(ctx, foreign, &nd, network, address)
	case foreign == 0:
		if d.s.Has(Net) {
			nd.ControlContext, nd.Control = d.s.control(controlOf(&nd), nil), nil
		}
		return dialAtHome(ctx, &nd, network, address)
	}
	if nd.LocalAddr != nil {
		if err := d.s.mayBind(ctx, foreign, network, nd.LocalAddr.String()); err != nil {
			return fail(err)
		}
	}
	z := &zones{s: d.s}
	if address, err = z.numbered(ctx, network, address); err != nil {
		return fail(err)
	}
	if nd.LocalAddr, err = z.local(ctx, nd.LocalAddr); err != nil {
		return fail(err)
	}
	nd.ControlContext, nd.Control = d.s.control(z.control(controlOf(&nd)), nil), nil
	conn, err := d.s.dialIP(ctx, foreign, &nd, z, network, address)
	if err != nil {
		return nil, z.failed(err, d.d.LocalAddr)
	}
	return z.conn(conn), nil
}

// dialIP resolves a name if there is one, and connects.
func (s *Set) dialIP(ctx context.Context, foreign Type, nd *net.Dialer, z *zones, network, address string) (net.Conn, error) {
	name, with := nameIn(network, address)
	if nd.Resolver != nil || name == "" {
		return nd.DialContext(ctx, network, address)
	}
	ctx, cancel := within(ctx, nd)
	defer cancel()
	ips, err := s.lookup(ctx, foreign, ipNetwork(network), name)
	if err == nil {
		ips, err = z.found(ctx, ips)
	}
	if err == nil {
		ips, err = suitable(nd.LocalAddr, ips)
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return dialOneOf(ctx, nd, network, with, ips)
}

// controlOf is the Control function of nd. ControlContext overrides Control.
func controlOf(nd *net.Dialer) func(context.Context, string, string, syscall.RawConn) error {
	if nd.ControlContext != nil || nd.Control == nil {
		return nd.ControlContext
	}
	control := nd.Control
	return func(_ context.Context, network, address string, rc syscall.RawConn) error {
		return control(network, address, rc)
	}
}

// suitable drops addresses that cannot be reached from the local one, as package net does.
func suitable(local net.Addr, ips []netip.Addr) ([]netip.Addr, error) {
	from, zone := zoneOf(local)
	if zone == nil || from == nil || from.IsUnspecified() {
		return ips, nil
	}
	var fit []netip.Addr
	for _, ip := range ips {
		if ip.IsUnspecified() || ip.Is4() == (from.To4() != nil) {
			fit = append(fit, ip)
		}
	}
	if len(fit) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: local.String()}
	}
	return fit, nil
}

// dialUnix connects unix sockets. For both sides, a path is looked up in the Set's mount namespace,
// and every other name belongs to its net namespace.
func (s *Set) dialUnix(ctx context.Context, foreign Type, nd *net.Dialer, network, address string) (net.Conn, error) {
	names := []string{address}
	local, ok := nd.LocalAddr.(*net.UnixAddr)
	if ok = ok && local != nil && local.Net == network; ok { // package net refuses others
		names = append(names, local.Name)
	}
	if foreign != 0 && slices.ContainsFunc(names, func(name string) bool { return name != "" && !isPath(network, name) }) {
		nd.ControlContext, nd.Control = s.control(controlOf(nd), nil), nil
	}
	if ok && foreign != 0 && isPath(network, local.Name) {
		control := controlOf(nd)
		nd.LocalAddr, nd.Control = nil, nil
		nd.ControlContext = func(ctx context.Context, network, address string, rc syscall.RawConn) error {
			if control != nil {
				if err := control(ctx, network, address, rc); err != nil {
					return err
				}
			}
			return s.bindAt(ctx, rc, local.Name)
		}
	}
	if foreign == 0 {
		var conn net.Conn
		var derr error
		if err := s.onHomeThread("dial", func() { conn, derr = nd.DialContext(ctx, network, address) }); err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		return conn, derr
	}
	if !isPath(network, address) {
		return nd.DialContext(ctx, network, address)
	}
	f, err := s.findSocket(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return dialFound(ctx, nd, network, f)
}

// dialFound connects to the socket of f, which was opened with O_PATH, and closes f. If the
// socket's file system does not answer in time, the goroutine is left behind.
func dialFound(ctx context.Context, nd *net.Dialer, network string, f *os.File) (net.Conn, error) {
	ctx, cancelDialer := within(ctx, nd)
	defer cancelDialer()
	ctx, cancelLimit := context.WithTimeout(ctx, dialLimit)
	defer cancelLimit()
	return connAtHome(ctx, network, func() (net.Conn, error) {
		defer f.Close()
		path, err := procPath(f)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		return nd.DialContext(ctx, network, path)
	})
}

// dialAtHome connects as package net does. It looks names up in the program's own files, even if
// the caller's thread is in other namespaces.
func dialAtHome(ctx context.Context, nd *net.Dialer, network, address string) (net.Conn, error) {
	return connAtHome(ctx, network, func() (net.Conn, error) { return nd.DialContext(ctx, network, address) })
}

func connAtHome(ctx context.Context, network string, dial func() (net.Conn, error)) (net.Conn, error) {
	var conn net.Conn
	over, err := atHome(ctx, func() (err error) {
		conn, err = dial()
		return err
	}, func() {
		if conn != nil {
			conn.Close()
		}
	})
	if !over {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn, err
}

// dialLimit is how long it may take to connect to a socket that is a file. This does not wait for
// the program that listens. homePatience is how long a function at home may still take once its
// context is done.
const (
	dialLimit    = 30 * time.Second
	homePatience = 100 * time.Millisecond
)

// atHome runs f on a thread that is not in a Set. The thread of this goroutine may be in one, and
// its /proc would then be somebody else's. If f does not end soon after ctx is done, f is left
// behind, and late is called when it ends.
func atHome(ctx context.Context, f func() error, late func()) (over bool, err error) {
	var ferr error // valid once done is closed
	var panicked any
	ended, done := false, make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }() // of a Control function
		ferr = f()
		ended = true
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if !sys.Done(done, homePatience) {
			go func() {
				<-done
				late()
			}()
			return false, errors.Join(context.Cause(ctx), sys.ErrLeftBehind)
		}
	}
	switch {
	case panicked != nil:
		panic(panicked)
	case !ended:
		runtime.Goexit()
	}
	return true, ferr
}

// nameIn finds the host name in an address. It is "" if the address has no name to resolve. with
// makes the same address with an IP address in place of the name.
func nameIn(network, address string) (name string, with func(netip.Addr) string) {
	name, put := hostIn(network, address)
	if _, err := netip.ParseAddr(name); err == nil || name == "" {
		return "", nil
	}
	return name, func(ip netip.Addr) string { return put(ip.String()) }
}

// ipNetwork is "ip", "ip4" or "ip6", for the addresses that a network ("tcp4", "ip6:icmp") can use.
func ipNetwork(network string) string {
	base, _, _ := strings.Cut(network, ":")
	if strings.HasSuffix(base, "4") || strings.HasSuffix(base, "6") {
		return "ip" + base[len(base)-1:]
	}
	return "ip"
}

// within bounds ctx by the time limits and the Cancel of nd, and removes them from nd.
func within(ctx context.Context, nd *net.Dialer) (context.Context, context.CancelFunc) {
	deadline := nd.Deadline
	if nd.Timeout != 0 { // below zero it is over, as in package net
		if t := time.Now().Add(nd.Timeout); deadline.IsZero() || t.Before(deadline) {
			deadline = t
		}
	}
	gone := nd.Cancel                                        //nolint:staticcheck // deprecated, and honoured
	nd.Timeout, nd.Deadline, nd.Cancel = 0, time.Time{}, nil //nolint:staticcheck // as above
	cancel := func() {}
	if !deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	if gone == nil {
		return ctx, cancel
	}
	ctx, stop := context.WithCancel(ctx)
	go func() {
		select {
		case <-gone:
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		stop()
		cancel()
	}
}

// dialOneOf tries the addresses of the first one's family, and after a while also the addresses of
// the other family (RFC 6555). Package net does the same with addresses that it resolves itself.
func dialOneOf(ctx context.Context, nd *net.Dialer, network string, with func(netip.Addr) string, ips []netip.Addr) (net.Conn, error) {
	var first, other []netip.Addr
	for _, ip := range ips {
		if ip.Is4() == ips[0].Is4() {
			first = append(first, ip)
		} else {
			other = append(other, ip)
		}
	}
	if nd.FallbackDelay < 0 || len(other) == 0 || network != "tcp" {
		return dialInTurn(ctx, nd, network, with, ips)
	}
	delay := nd.FallbackDelay
	if delay == 0 {
		delay = 300 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the slower way
	r := &dialRace{results: make(chan dialed), over: make(chan struct{})}
	defer close(r.over)
	dial := func(ips []netip.Addr) func() (net.Conn, error) {
		return func() (net.Conn, error) { return dialInTurn(ctx, nd, network, with, ips) }
	}
	return r.run(dial(first), dial(other), delay)
}

// dialRace tries two ways to a connection. The second way starts later.
type dialRace struct {
	results chan dialed
	over    chan struct{} // closed when nobody takes results any more
}

type dialed struct {
	conn net.Conn
	err  error
}

// run gives the first connection. If both ways fail, it gives the first error. The second way
// starts after delay, or when the first one has failed.
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

// ListenConfig returns a net.ListenConfig whose sockets are made inside the Set. Its fields are
// honoured. Control gets the socket that was made inside, and runs outside. Names and zones are
// resolved inside, as by [Set.Dialer].
//
// A port is refused if work inside could not bind it, even if this process could. In a Set with a
// user namespace, ports below ip_unprivileged_port_start need CAP_NET_BIND_SERVICE in the user
// namespace that owns the net namespace (ip(7)). The error matches fs.ErrPermission.
//
// The addresses of listeners, packet connections and accepted connections have zones by the names
// of the interfaces inside. WriteTo takes these zones. For that, a listener at an IPv6 address
// other than ::1 is not a *net.TCPListener, and a packet connection there is not a *net.UDPConn or
// *net.IPConn. They have all of the methods of these types. An accepted connection is a
// *net.TCPConn.
//
// Unix sockets with a path are bound in the Set's mount namespace. If that is not this process's,
// the file stays when the listener is closed, and the caller removes it.
//
// In a mount namespace that was opened from outside, links of procfs on the way to the file are not
// followed. Its directory must be on a file system on which [Set.OpenFile] opens files. The kernel
// shows the last element of the path as the address.
//
// WriteTo of a datagram socket looks up a path in the Set's mount namespace, too, each time. So the
// Set must still be open. The look-up ends at the write deadline or after 30 seconds. ReadFrom
// shows the paths to which senders have bound, in the senders' mount namespaces.
//
// Other listeners outlive the Set, and so do the connections that they accept.
func (s *Set) ListenConfig(c net.ListenConfig) *ListenConfig { return &ListenConfig{s, c} }

// Listen is net.ListenConfig.Listen, inside the Set.
func (l *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	defer runtime.KeepAlive(l.s)
	in, err := l.inside(ctx, network, address, false)
	switch {
	case err != nil:
		return nil, err
	case in.bound != nil:
		defer in.bound.Close()
		listener, err := net.FileListener(in.bound)
		if u, ok := listener.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(in.foreign&Mount == 0) // package net does so for a path of this process
		}
		return listener, err
	}
	var ln net.Listener
	err = in.atHome("listen", network, func() (err error) {
		ln, err = in.c.Listen(ctx, network, in.address)
		return err
	})
	if err != nil {
		return nil, l.s.loopbackHint(ctx, in.z.failed(err, nil))
	}
	if in.foreign&Net != 0 {
		ln = in.z.listener(ln)
	}
	return ln, nil
}

// ListenPacket is net.ListenConfig.ListenPacket, inside the Set.
func (l *ListenConfig) ListenPacket(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
	defer runtime.KeepAlive(l.s)
	in, err := l.inside(ctx, network, address, true)
	switch {
	case err != nil:
		return nil, err
	case in.bound != nil:
		defer in.bound.Close()
		pc, err = net.FilePacketConn(in.bound)
	default:
		err = in.atHome("listen", network, func() (err error) {
			pc, err = in.c.ListenPacket(ctx, network, in.address)
			return err
		})
	}
	if err != nil {
		return nil, l.s.loopbackHint(ctx, in.z.failed(err, nil))
	}
	if in.foreign&Net != 0 {
		pc = in.z.packets(pc)
	}
	if in.foreign != 0 {
		pc = l.s.datagrams(pc)
	}
	return pc, nil
}

// listening has the configuration and the address to listen with. For a unix socket with a path
// inside it has bound, which listens already.
type listening struct {
	c       *net.ListenConfig
	address string
	bound   *os.File
	z       *zones
	foreign Type
}

// atHome lets package net listen on a thread at home, with the program's own files and sockets.
func (in *listening) atHome(op, network string, listen func() error) (err error) {
	if in.foreign != 0 {
		return listen() // no matter where: names are resolved, and Control makes the socket
	}
	if herr := in.z.s.onHomeThread(op, func() { err = listen() }); herr != nil {
		return &net.OpError{Op: op, Net: network, Err: herr}
	}
	return err
}

func (l *ListenConfig) inside(ctx context.Context, network, address string, packets bool) (*listening, error) {
	foreign, _, err := l.s.foreignTypes(ctx, "listen")
	in := &listening{c: &l.c, address: address, z: &zones{s: l.s}, foreign: foreign}
	switch {
	case err != nil:
	case isPath(network, address):
		if foreign != 0 {
			in.bound, err = l.s.listenAt(ctx, network, address, packets, l.c.Control)
		}
	case foreign != 0:
		in.address, err = in.z.listenAddress(ctx, foreign, network, address)
		with := l.c
		control := l.s.control(in.z.control(controlOf(&net.Dialer{Control: l.c.Control})), nil)
		with.Control = func(network, address string, rc syscall.RawConn) error {
			if err := l.s.mayBind(ctx, foreign, network, address); err != nil {
				return err
			}
			return control(ctx, network, address, rc)
		}
		in.c = &with
	}
	if err != nil {
		failed := &net.OpError{Op: "listen", Net: network, Err: err}
		if isPath(network, address) {
			failed.Addr = &net.UnixAddr{Name: address, Net: network}
		}
		return nil, failed
	}
	return in, nil
}

// listenAddress is address with interface and host names resolved inside. It prefers IPv4 to IPv6,
// as package net does.
func (z *zones) listenAddress(ctx context.Context, foreign Type, network, address string) (string, error) {
	name, with := nameIn(network, address)
	if name == "" {
		return z.numbered(ctx, network, address)
	}
	ips, err := z.s.lookup(ctx, foreign, ipNetwork(network), name)
	if err == nil {
		ips, err = z.found(ctx, ips)
	}
	if err != nil {
		return "", err
	}
	return with(ips[max(0, slices.IndexFunc(ips, netip.Addr.Is4))]), nil
}

// isPath reports whether a unix socket has a path. Such a socket belongs to a mount namespace. An
// abstract or unnamed socket belongs to a net namespace.
func isPath(network, address string) bool {
	return strings.HasPrefix(network, "unix") && address != "" && address[0] != '@' && address[0] != 0
}

// control replaces a socket of package net, before the caller's Control function sees it.
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

type openConfig struct {
	anyFile bool
	root    string
	bad     error // what is wrong with an option
}

// AnyFile lets [Set.OpenFile] open every kind of file in a mount namespace that somebody else made,
// too. These are devices, FIFOs, sockets (with O_PATH), and files of procfs, sysfs and the like. A
// process inside can then choose which file is opened, by a link, among all files that this program
// may open. Links of procfs are still not followed. In other mount namespaces AnyFile changes
// nothing.
func AnyFile() OpenOption { return func(c *openConfig) { c.anyFile = true } }

// InRoot makes the directory dir the root for the look-up of the name by [Set.OpenFile]. It is for
// images and root file systems of containers, whose links mean their own root. The file is found as
// work with that [Root] finds it. An absolute name, an absolute link and ".." never lead out of
// dir, even while other processes rename files there (openat2(2), RESOLVE_IN_ROOT). A relative name
// begins in dir as well. Links of procfs are never followed below dir (ELOOP).
//
// dir is a path inside the Set, and is found as OpenFile finds names. In a mount namespace that
// somebody else made, dir must be on an ordinary file system, and links of procfs cannot lead to
// it. OpenFile refuses the same files below dir as elsewhere in that namespace. Unlike chroot(2),
// InRoot needs no privilege. An error for dir itself says InRoot. An empty dir is an error that
// matches [os.ErrInvalid]. A name with many ".." can fail with EAGAIN while other processes rename
// files without a pause.
func InRoot(dir string) OpenOption {
	return func(c *openConfig) {
		c.root = dir
		if what := badPath(dir, wire.MaxDir); what != "" {
			c.bad = fmt.Errorf("%s: %s: %w", "InRoot", what, os.ErrInvalid)
		}
	}
}

// OpenFile opens a file inside the Set, as os.OpenFile does outside. The file belongs to the caller
// and is close-on-exec. "Relative paths" in the package's documentation says where a relative name
// begins.
//
// OpenFile enters all of the Set, for every file. So /proc/sys/net shows the Set's net namespace,
// and /dev/net/tun makes interfaces there. /proc/net, /proc/mounts and the files below /proc/self
// that show namespaces (net, ns, mounts, mountinfo, mountstats, root, cwd) mean the work inside, and
// not this process. The spelling does not matter, nor the link or the mount of procfs that leads
// there: /etc/mtab shows the mounts inside. A file that no thread has is opened by the worker. These
// are mountstats, and in a procfs of the Set's pid namespace all files below /proc/self.
//
// A sysfs shows the net namespace in which it was mounted: /sys/class/net is the host's
// until [MountSys] mounts another.
//
// For some files of the kernel, the process that reads or writes decides which namespace is meant.
// The process that opened the file does not matter. Such files are /proc/sys/kernel/hostname in a
// Set with UTS, cgroup.procs and /proc/loadavg in a Set with PID, /proc/uptime in a Set with Time,
// and /proc/self/mountinfo in a Set with Cgroup (/proc/self/mounts is not). Outside they would mean
// the wrong namespace. OpenFile refuses them. The error names the type, matches
// errors.ErrUnsupported, and says where to open them.
//
// The file is opened with O_NONBLOCK, so that a FIFO inside cannot keep the caller waiting. If no
// process has the other end of a FIFO, reading gets the end of the file, and opening for writing
// fails (ENXIO). After the opening the file blocks, if it would after os.OpenFile. A terminal never
// becomes the controlling terminal (O_NOCTTY).
//
// If the mount namespace was opened from outside, or was made inside such a namespace, its maker
// chooses the file that the name means. It could be a file that the maker may not open. So these
// rules hold there:
//
//   - Only regular files and directories are opened, and only on file systems that keep data: those
//     of disks and images, tmpfs, overlays, FUSE, network file systems. Devices, FIFOs and sockets
//     are refused, and so are all files on procfs, sysfs, cgroupfs and the like, and on file
//     systems that gonso does not know. The error matches fs.ErrPermission. [AnyFile] lifts this
//     rule. The opened file is the one that was checked, even if the name means another file by
//     then.
//   - Links of procfs such as /proc/PID/root are not followed (ELOOP; openat2(2),
//     RESOLVE_NO_MAGICLINKS).
//   - With O_CREATE an existing file is opened, also through links. A new file is made only at the
//     name itself: for a link that leads nowhere the error is ELOOP. Add O_EXCL to get only a new
//     file.
//   - O_PATH gives a handle of such a file or directory. With O_NOFOLLOW it also gives the handle
//     of a link.
//
// Files below a directory that was opened there are not trusted, either, and absolute links in it
// mean the caller's own root. Open them by OpenFile with [InRoot], by openat2(2) with
// RESOLVE_IN_ROOT, or by os.Root.
//
// It needs the privileges to enter the Set. In a Set with a user namespace, the file is opened with
// the privileges of root inside. In other Sets it is opened with all privileges of this program. A
// thread of this process opens the file if it can enter the Set: then ctx cannot end the wait for a
// file system that does not answer. Otherwise the worker opens the file, and ctx ends the wait, as
// for [Func.Do].
func (s *Set) OpenFile(ctx context.Context, name string, flag int, perm os.FileMode, opts ...OpenOption) (*os.File, error) {
	var c openConfig
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	if c.bad != nil {
		return nil, newError("open", 0, name, c.bad)
	}
	theirs := ordinaryFile
	if c.anyFile {
		theirs = anyFile
	}
	return s.openFile(ctx, c.root, name, flag, perm, theirs)
}
