package sys

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Asking for interfaces and addresses: rtnetlink(7).

var ne = binary.NativeEndian

// dumpTries bounds how often a list is asked for again that has changed while
// the kernel wrote it.
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
	slices.SortFunc(all, func(a, b socket.Interface) int { return cmp.Compare(a.Index, b.Index) })
	addrs, err := n.dump(unix.RTM_GETADDR)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		index, prefix, ok := parseAddr(&addrs[i])
		at, found := slices.BinarySearchFunc(all, index, func(ifi socket.Interface, index int) int {
			return cmp.Compare(ifi.Index, index)
		})
		if ok && found {
			all[at].Addrs = append(all[at].Addrs, prefix)
		}
	}
	return all, nil
}

// dump asks for everything of one kind.
func (n *Namespace) dump(request uint16) (ms []syscall.NetlinkMessage, err error) {
	var whole bool
	for range dumpTries {
		if ms, whole, err = n.dumpOnce(request); err != nil || whole {
			break
		}
	}
	return ms, err // the last list is good for now: news of the change are on their way
}

func (n *Namespace) dumpOnce(request uint16) (all []syscall.NetlinkMessage, whole bool, err error) {
	n.seq++
	// struct nlmsghdr and struct rtgenmsg, padded
	ask := make([]byte, unix.SizeofNlMsghdr+4)
	ne.PutUint32(ask, uint32(unix.SizeofNlMsghdr+unix.SizeofRtGenmsg))
	ne.PutUint16(ask[4:], request)
	ne.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	ne.PutUint32(ask[8:], n.seq)
	if err := unix.Sendto(n.fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, false, sysErr("sendto", err)
	}
	whole = true
	for b := make([]byte, 1<<16); ; {
		size, _, err := unix.Recvfrom(n.fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, false, sysErr("recvfrom", err)
		}
		ms, err := syscall.ParseNetlinkMessage(slices.Clone(b[:size]))
		if err != nil {
			return nil, false, sysErr("recvfrom", err)
		}
		for _, m := range ms {
			switch {
			case m.Header.Seq != n.seq:
				continue
			case m.Header.Flags&unix.NLM_F_DUMP_INTR != 0:
				whole = false
			}
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, whole, nil
			case unix.NLMSG_ERROR:
				errno := unix.EIO
				if len(m.Data) >= 4 {
					errno = unix.Errno(-int32(ne.Uint32(m.Data)))
				}
				return nil, false, sysErr("netlink", errno)
			}
			all = append(all, m)
		}
	}
}

// parseLink reads RTM_NEWLINK.
func parseLink(m *syscall.NetlinkMessage) (ifi socket.Interface, ok bool) {
	// struct ifinfomsg {
	//	unsigned char  ifi_family, __ifi_pad;
	//	unsigned short ifi_type;
	//	int            ifi_index;
	//	unsigned       ifi_flags, ifi_change;
	// };
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return ifi, false
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return ifi, false
	}
	ifi.Index = int(int32(ne.Uint32(m.Data[4:])))
	ifi.Flags = linkFlags(ne.Uint32(m.Data[8:]))
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_IFNAME && len(a.Value) > 0:
			ifi.Name = unix.ByteSliceToString(a.Value)
		case a.Attr.Type == unix.IFLA_MTU && len(a.Value) >= 4:
			ifi.MTU = int(ne.Uint32(a.Value))
		case a.Attr.Type == unix.IFLA_ADDRESS && len(a.Value) == 6:
			ifi.HardwareAddr = a.Value
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
func parseAddr(m *syscall.NetlinkMessage) (index int, p netip.Prefix, ok bool) {
	// struct ifaddrmsg {
	//	__u8  ifa_family, ifa_prefixlen, ifa_flags, ifa_scope;
	//	__u32 ifa_index;
	// };
	if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
		return 0, p, false
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return 0, p, false
	}
	var addr netip.Addr
	for _, a := range attrs {
		// Between two ends IFA_ADDRESS is the other one.
		if a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !addr.IsValid() {
			if v, ok := netip.AddrFromSlice(a.Value); ok {
				addr = v
			}
		}
	}
	p = netip.PrefixFrom(addr, int(m.Data[1]))
	return int(ne.Uint32(m.Data[4:])), p, p.IsValid()
}
