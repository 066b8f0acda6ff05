package gonso

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const errNoInterface = unix.ENODEV

func (s *Set) interfaces(ctx context.Context) ([]Interface, error) {
	f, err := s.socket(ctx, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fail := func(err error) ([]Interface, error) { return nil, newError("list interfaces of", Net, "", err) }
	until := time.Now().Add(stepTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := f.SetDeadline(until); err != nil {
		return fail(err)
	}
	links, err := dump(f, unix.RTM_GETLINK)
	if err != nil {
		return fail(err)
	}
	addresses, err := dump(f, unix.RTM_GETADDR)
	if err != nil {
		return fail(err)
	}
	var ifs []Interface
	for _, m := range links {
		i, err := linkIn(m)
		if err != nil {
			return fail(err)
		}
		ifs = append(ifs, i)
	}
	slices.SortFunc(ifs, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	for _, m := range addresses {
		index, p, err := addressIn(m)
		if err != nil {
			return fail(err)
		}
		if n := slices.IndexFunc(ifs, func(i Interface) bool { return i.Index == index }); n >= 0 && p.IsValid() {
			ifs[n].Addrs = append(ifs[n].Addrs, p)
		}
	}
	return ifs, nil
}

// errListChanges: the kernel says that a list is not consistent (NLM_F_DUMP_INTR).
var errListChanges = errors.New("the list changed each time while it was read")

// dump asks the kernel for a list (rtnetlink(7)). If the list changes meanwhile, dump asks again.
func dump(f *os.File, request uint16) ([]syscall.NetlinkMessage, error) {
	for seq := range uint32(16) {
		list, whole, err := dumpOnce(f, request, seq+1)
		if whole || err != nil {
			return list, err
		}
	}
	return nil, errListChanges
}

func dumpOnce(f *os.File, request uint16, seq uint32) (list []syscall.NetlinkMessage, whole bool, err error) {
	q := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtGenmsg)
	binary.NativeEndian.PutUint32(q[0:], uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], request)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(q[8:], seq)
	if _, err := f.Write(q); err != nil {
		return nil, false, err
	}
	whole = true
	b := make([]byte, 64<<10) // the kernel sends 32 KiB at most
	for {
		n, err := receiveFromKernel(f, b)
		if err != nil {
			return nil, false, err
		}
		ms, err := syscall.ParseNetlinkMessage(slices.Clone(b[:n]))
		if err != nil {
			return nil, false, err
		}
		for _, m := range ms {
			if m.Header.Seq != seq {
				continue // of a list that was given up
			}
			if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
				whole = false
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return list, whole, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					if no := int32(binary.NativeEndian.Uint32(m.Data)); no != 0 {
						return nil, false, os.NewSyscallError("netlink", syscall.Errno(-no))
					}
				}
			default:
				list = append(list, m)
			}
		}
	}
}

// receiveFromKernel drops messages that other processes send: any process in that net namespace
// may.
func receiveFromKernel(f *os.File, b []byte) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			var from unix.Sockaddr
			n, from, rerr = unix.Recvfrom(int(fd), b, 0)
			switch nl, ok := from.(*unix.SockaddrNetlink); {
			case rerr == unix.EINTR, rerr == nil && (!ok || nl.Pid != 0):
			default:
				return rerr != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("recvfrom", rerr)
	}
	return n, err
}

var errShortMessage = errors.New("a message of the kernel is too short")

// linkIn is the interface that a message is about.
func linkIn(m syscall.NetlinkMessage) (i Interface, err error) {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return i, errShortMessage
	}
	typ := binary.NativeEndian.Uint16(m.Data[2:])
	i.Index = int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
	flags := binary.NativeEndian.Uint32(m.Data[8:])
	for bit, flag := range map[uint32]net.Flags{
		unix.IFF_UP: net.FlagUp, unix.IFF_BROADCAST: net.FlagBroadcast, unix.IFF_LOOPBACK: net.FlagLoopback,
		unix.IFF_POINTOPOINT: net.FlagPointToPoint, unix.IFF_MULTICAST: net.FlagMulticast, unix.IFF_RUNNING: net.FlagRunning,
	} {
		if flags&bit != 0 {
			i.Flags |= flag
		}
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return i, err
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_IFNAME:
			i.Name = unix.ByteSliceToString(a.Value)
		case a.Attr.Type == unix.IFLA_MTU && len(a.Value) >= 4:
			i.MTU = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == unix.IFLA_ADDRESS && isHardware(typ, a.Value):
			i.HardwareAddr = a.Value
		}
	}
	return i, nil
}

// isHardware reports whether an address is a hardware address. A tunnel has an IP address there,
// and loopback has zeros.
func isHardware(typ uint16, address []byte) bool {
	switch typ {
	case unix.ARPHRD_TUNNEL, unix.ARPHRD_IPGRE, unix.ARPHRD_SIT, unix.ARPHRD_TUNNEL6, unix.ARPHRD_IP6GRE:
		return false
	}
	return slices.ContainsFunc(address, func(b byte) bool { return b != 0 })
}

// addressIn is the address that a message is about, and the interface that has it.
func addressIn(m syscall.NetlinkMessage) (index int, p netip.Prefix, err error) {
	if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
		return 0, p, errShortMessage
	}
	bits := int(m.Data[1])
	index = int(binary.NativeEndian.Uint32(m.Data[4:]))
	attrs, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return 0, p, err
	}
	for _, a := range attrs {
		ip, ok := netip.AddrFromSlice(a.Value)
		switch {
		case !ok:
		case a.Attr.Type == unix.IFA_LOCAL: // IFA_ADDRESS is then the other end's
			return index, netip.PrefixFrom(ip, bits), nil
		case a.Attr.Type == unix.IFA_ADDRESS:
			p = netip.PrefixFrom(ip, bits)
		}
	}
	return index, p, nil
}
