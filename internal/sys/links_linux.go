package sys

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Listing interfaces and addresses with rtnetlink(7).

// dumpTries bounds how often a list is requested again because it changed while the kernel
// wrote it.
const dumpTries = 5

func (n *Namespace) interfaces() ([]socket.Interface, error) {
	links, err := n.dump(unix.RTM_GETLINK)
	if err != nil {
		return nil, err
	}
	var all []socket.Interface
	for i := range links {
		if ifi, ok := parseLink(&links[i]); ok {
			all = append(all, ifi)
		}
	}
	sortByIndex(all)
	addrs, err := n.dump(unix.RTM_GETADDR)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		if index, prefix, tentative, ok := parseAddr(&addrs[i]); ok {
			addAddr(all, index, prefix, tentative)
		}
	}
	return all, nil
}

func sortByIndex(all []socket.Interface) {
	slices.SortFunc(all, func(a, b socket.Interface) int { return cmp.Compare(a.Index, b.Index) })
}

// addAddr adds an address to one of the interfaces, which are in the order of their indexes.
func addAddr(all []socket.Interface, index int, prefix netip.Prefix, tentative bool) {
	at, found := slices.BinarySearchFunc(all, index, func(ifi socket.Interface, index int) int {
		return cmp.Compare(ifi.Index, index)
	})
	if !found {
		return
	}
	ifi := &all[at]
	if prefix.Addr().Is6() {
		first := !slices.ContainsFunc(ifi.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
		ifi.Tentative = tentative && (first || ifi.Tentative)
	}
	ifi.Addrs = append(ifi.Addrs, prefix)
}

// isTentative reports whether an IPv6 address cannot be sent from yet, given its IFA_F_ flags.
// Optimistic addresses can (RFC 4429).
func isTentative(flags byte) bool {
	return flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
}

// dump lists everything of one kind.
func (n *Namespace) dump(request uint16) ([]netlinkMessage, error) {
	var l listing
	var err error
	for range dumpTries {
		if l, err = n.dumpOnce(request); err != nil || !l.changed {
			break
		}
	}
	return l.messages, err // the last list is good enough: a notification of the change follows
}

func (n *Namespace) dumpOnce(request uint16) (listing, error) {
	n.seq++
	l := listing{seq: n.seq}
	// struct nlmsghdr and struct rtgenmsg, padded
	ask := make([]byte, unix.SizeofNlMsghdr+4)
	ne.PutUint32(ask, uint32(unix.SizeofNlMsghdr+unix.SizeofRtGenmsg))
	ne.PutUint16(ask[4:], request)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ne.PutUint32(ask[8:], n.seq)
	if err := unix.Sendto(n.fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return l, sysErr("sendto", err)
	}
	for b := make([]byte, 1<<16); ; {
		size, _, err := unix.Recvfrom(n.fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return l, sysErr("recvfrom", err)
		}
		if done, err := l.take(slices.Clone(b[:size])); done || err != nil {
			return l, err
		}
	}
}

// A listing is the messages that answer one request.
type listing struct {
	seq      uint32
	messages []netlinkMessage
	changed  bool // the list changed while the kernel wrote it
}

// take reads the messages of one datagram, which l then owns. It reports whether it was the last.
func (l *listing) take(b []byte) (done bool, err error) {
	for len(b) > 0 {
		m, rest, ok := cutMessage(b)
		if !ok {
			return false, sysErr("recvfrom", unix.EINVAL)
		}
		b = rest
		if m.seq != l.seq {
			continue
		}
		l.changed = l.changed || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch m.kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			errno := unix.EIO
			if len(m.data) >= 4 {
				errno = unix.Errno(-int32(ne.Uint32(m.data)))
			}
			return false, sysErr("netlink", errno)
		}
		l.messages = append(l.messages, m)
	}
	return false, nil
}

// parseLink reads RTM_NEWLINK.
func parseLink(m *netlinkMessage) (ifi socket.Interface, ok bool) {
	// struct ifinfomsg {
	//	unsigned char  ifi_family, __ifi_pad;
	//	unsigned short ifi_type;
	//	int            ifi_index;
	//	unsigned       ifi_flags, ifi_change;
	// };
	if m.kind != unix.RTM_NEWLINK || len(m.data) < unix.SizeofIfInfomsg {
		return ifi, false
	}
	ifi.Index = int(int32(ne.Uint32(m.data[4:])))
	ifi.Flags = linkFlags(ne.Uint32(m.data[8:]))
	for b := m.data[unix.SizeofIfInfomsg:]; len(b) > 0; {
		kind, value, rest, ok := cutAttribute(b)
		if !ok {
			return ifi, false
		}
		b = rest
		switch {
		case kind == unix.IFLA_IFNAME && len(value) > 0:
			ifi.Name = unix.ByteSliceToString(value)
		case kind == unix.IFLA_MTU && len(value) >= 4:
			ifi.MTU = int(ne.Uint32(value))
		case kind == unix.IFLA_ADDRESS && len(value) == 6:
			ifi.HardwareAddr = value
		}
	}
	return ifi, ifi.Name != ""
}

func linkFlags(raw uint32) (f net.Flags) {
	for _, l := range []struct {
		raw  uint32
		flag net.Flags
	}{
		{unix.IFF_UP, net.FlagUp}, {unix.IFF_RUNNING, net.FlagRunning}, {unix.IFF_BROADCAST, net.FlagBroadcast},
		{unix.IFF_LOOPBACK, net.FlagLoopback}, {unix.IFF_POINTOPOINT, net.FlagPointToPoint}, {unix.IFF_MULTICAST, net.FlagMulticast},
	} {
		if raw&l.raw != 0 {
			f |= l.flag
		}
	}
	return f
}

// parseAddr reads RTM_NEWADDR.
func parseAddr(m *netlinkMessage) (index int, p netip.Prefix, tentative, ok bool) {
	// struct ifaddrmsg {
	//	__u8  ifa_family, ifa_prefixlen, ifa_flags, ifa_scope;
	//	__u32 ifa_index;
	// };
	if m.kind != unix.RTM_NEWADDR || len(m.data) < unix.SizeofIfAddrmsg {
		return 0, p, false, false
	}
	var addr netip.Addr
	for b := m.data[unix.SizeofIfAddrmsg:]; len(b) > 0; {
		kind, value, rest, ok := cutAttribute(b)
		if !ok {
			return 0, p, false, false
		}
		b = rest
		// On a point-to-point link IFA_ADDRESS is the peer's.
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !addr.IsValid() {
			if v, ok := netip.AddrFromSlice(value); ok {
				addr = v
			}
		}
	}
	p = netip.PrefixFrom(addr, int(m.data[1]))
	return int(ne.Uint32(m.data[4:])), p, isTentative(m.data[2]), p.IsValid()
}
