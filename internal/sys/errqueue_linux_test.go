//go:build !udpbasic

package sys

import (
	"context"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// entry builds the control message of an error queue entry.
func entry(level, typ int32, ee unix.SockExtendedErr, offender []byte) []byte {
	n := int(unsafe.Sizeof(ee)) + len(offender)
	b := make([]byte, unix.CmsgSpace(n))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	data := b[unix.CmsgLen(0):]
	copy(data, unsafe.Slice((*byte)(unsafe.Pointer(&ee)), unsafe.Sizeof(ee)))
	copy(data[unsafe.Sizeof(ee):], offender)
	return b
}

func sockaddr4(a string) []byte {
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: netip.MustParseAddr(a).As4()}
	return unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
}

func sockaddr6(a string, scope uint32) []byte {
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: netip.MustParseAddr(a).As16(), Scope_id: scope}
	return unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
}

func TestAnEntryOfTheErrorQueueIsRead(t *testing.T) {
	refused := unix.SockExtendedErr{Errno: uint32(unix.ECONNREFUSED), Origin: unix.SO_EE_ORIGIN_ICMP, Type: 3, Code: 3}
	tooBig := unix.SockExtendedErr{Errno: uint32(unix.EMSGSIZE), Origin: unix.SO_EE_ORIGIN_ICMP6, Type: 2, Info: 1280}
	local := unix.SockExtendedErr{Errno: uint32(unix.EMSGSIZE), Origin: unix.SO_EE_ORIGIN_LOCAL, Info: 1280}
	for name, c := range map[string]struct {
		control []byte
		want    socket.Report
		ok      bool
	}{
		"port unreachable": {entry(unix.IPPROTO_IP, unix.IP_RECVERR, refused, sockaddr4("192.0.2.1")),
			socket.Report{Offender: netip.MustParseAddr("192.0.2.1"), Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, true},
		"packet too big, with the MTU": {entry(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, tooBig, sockaddr6("2001:db8::1", 0)),
			socket.Report{Offender: netip.MustParseAddr("2001:db8::1"), Type: 2, MTU: 1280, Err: syscall.EMSGSIZE}, true},
		"an IPv4 router seen by an IPv6 socket": {entry(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, refused, sockaddr6("::ffff:192.0.2.1", 0)),
			socket.Report{Offender: netip.MustParseAddr("192.0.2.1"), Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, true},
		"a link-local router keeps its zone": {entry(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, refused, sockaddr6("fe80::1", 987654)),
			socket.Report{Offender: netip.MustParseAddr("fe80::1%987654"), Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, true},
		"no offender":       {entry(unix.IPPROTO_IP, unix.IP_RECVERR, refused, nil), socket.Report{Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, true},
		"made by this host": {entry(unix.IPPROTO_IP, unix.IP_RECVERR, local, nil), socket.Report{}, false},
		"another kind":      {entry(unix.IPPROTO_IP, unix.IP_PKTINFO, refused, nil), socket.Report{}, false},
		"cut short":         {entry(unix.IPPROTO_IP, unix.IP_RECVERR, refused, nil)[:20], socket.Report{}, false},
		"nothing":           {nil, socket.Report{}, false},
		"after one of another kind": {append(entry(unix.IPPROTO_IP, unix.IP_PKTINFO, refused, nil),
			entry(unix.IPPROTO_IP, unix.IP_RECVERR, refused, sockaddr4("192.0.2.1"))...),
			socket.Report{Offender: netip.MustParseAddr("192.0.2.1"), Type: 3, Code: 3, Err: syscall.ECONNREFUSED}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got socket.Report
			require.Equal(t, c.ok, parseReport(c.control, &got, number))
			require.Equal(t, c.want, got)
		})
	}
}

// No errno that Linux makes of an ICMP message is one that nobody knows
// (icmp_err_convert and icmp_unreach in net/ipv4/icmp.c, icmpv6_err_convert in
// net/ipv6/icmp.c of 6.18).
func TestEveryErrnoOfAnICMPMessageIsKnown(t *testing.T) {
	for _, errno := range []syscall.Errno{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENOPROTOOPT, unix.ECONNREFUSED, unix.EMSGSIZE, unix.EOPNOTSUPP,
		unix.EHOSTDOWN, unix.ENONET, unix.EPROTO, unix.EACCES,
	} {
		require.Contains(t, []Class{Report, Unreachable, TooLarge}, Classify(errno), "%v", errno)
	}
}

func number(index uint32) string { return strconv.FormatUint(uint64(index), 10) }

func FuzzParseReport(f *testing.F) {
	ee := unix.SockExtendedErr{Errno: uint32(unix.EMSGSIZE), Origin: unix.SO_EE_ORIGIN_ICMP6, Type: 2, Info: 1280}
	f.Add(entry(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, ee, sockaddr6("fe80::1", 1)))
	f.Add(entry(unix.IPPROTO_IP, unix.IP_RECVERR, ee, sockaddr4("192.0.2.1")))
	stamp := entry(unix.IPPROTO_IP, unix.IP_RECVERR, unix.SockExtendedErr{Errno: uint32(unix.ENOMSG), Origin: unix.SO_EE_ORIGIN_TIMESTAMPING, Data: 7}, nil)
	f.Add(append(stamp, stamp...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r socket.Report
		if parseStamp(b, &r) && r.Sent.IsZero() {
			t.Fatalf("%+v", r)
		}
		r = socket.Report{}
		if !parseReport(b, &r, number) {
			return
		}
		if r.Err == nil || r.Offender.Is4In6() {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzSockaddr(f *testing.F) {
	f.Add(sockaddr4("192.0.2.1"))
	f.Add(sockaddr6("::ffff:192.0.2.1", 0))
	f.Add(sockaddr6("fe80::1", 7))
	s, err := Kernel{}.Open(context.Background(), "udp6", netip.MustParseAddrPort("[::1]:0"), socket.Options{})
	if err != nil {
		f.Skip(err)
	}
	defer s.Close()
	z := s.(*Conn)
	f.Fuzz(func(t *testing.T, b []byte) {
		var sa unix.RawSockaddrInet6
		n := copy(unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa)), b)
		a := z.addrPort(&sa, n)
		if !a.Addr().IsValid() {
			return
		}
		if a.Addr().Is4In6() {
			t.Fatalf("4-in-6: %v", a)
		}
		// What is read can be written, and is read again as the same.
		var again unix.RawSockaddrInet6
		if back := z.addrPort(&again, int(z.putAddr(&again, a, true))); a.Addr().Is6() && back != a {
			t.Fatalf("%v was read, written and read as %v", a, back)
		}
	})
}

func TestAMissingInterfaceIsAskedForAgain(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	require.Zero(t, c.indexOf("nosuch9"))
	require.Empty(t, c.zones.known)
}
