package multicast_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A report is one group record of an IGMPv3 (RFC 3376 section 4.2) or MLDv2 (RFC
// 3810 section 5.2) report.
type report struct {
	kind    string
	group   netip.Addr
	sources []netip.Addr
}

// Types of group records, the same in both protocols.
var recordTypes = map[byte]string{
	1: "is include", 2: "is exclude", 3: "to include", 4: "to exclude", 5: "allow", 6: "block",
}

// sniff opens a packet socket for what an interface sends and receives.
func sniff(t testing.TB, ns *netns.NS, ifname string) (fd int) {
	t.Helper()
	ns.Do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		timeout := unix.NsecToTimeval(sockettest.Patience.Nanoseconds())
		require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ns.Interface(ifname).Index}))
	})
	return fd
}

// reportsOnce makes the kernel report each change of an IPv4 group once instead of twice within a
// second (robustness variable, RFC 3376 section 8.1), so that a report belongs to the last
// change. There is no such sysctl for IPv6.
func reportsOnce(ns *netns.NS) {
	ns.Command("sh", "-c", "echo 1 >/proc/sys/net/ipv4/igmp_qrv")
}

// awaitReport reads until a report has that record.
func awaitReport(t testing.TB, fd int, kind string, group netip.Addr, sources ...netip.Addr) {
	t.Helper()
	awaitOneOf(t, fd, report{kind, group, sources})
}

// awaitOneOf reads until a report has one of these records.
func awaitOneOf(t testing.TB, fd int, wanted ...report) {
	t.Helper()
	b := make([]byte, 1<<16)
	var seen []report
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err, "%v was not reported, but %v", wanted, seen)
		for _, r := range reports(b[:n]) {
			for _, w := range wanted {
				if r.kind == w.kind && r.group == w.group && fmt.Sprint(r.sources) == fmt.Sprint(w.sources) {
					return
				}
			}
			seen = append(seen, r)
		}
	}
}

// reports returns the records of a packet, if it is a report.
func reports(p []byte) (rs []report) {
	var size int // of an address
	switch {
	case len(p) > 20 && p[0]>>4 == 4 && p[9] == unix.IPPROTO_IGMP:
		p, size = p[int(p[0]&15)*4:], 4
		if len(p) < 8 || p[0] != 0x22 {
			return nil
		}
	case len(p) > 48 && p[0]>>4 == 6 && p[6] == unix.IPPROTO_HOPOPTS && p[40] == unix.IPPROTO_ICMPV6:
		p, size = p[48:], 16
		if len(p) < 8 || p[0] != 143 {
			return nil
		}
	default:
		return nil
	}
	addr := func(b []byte) netip.Addr { a, _ := netip.AddrFromSlice(b[:size]); return a }
	count := binary.BigEndian.Uint16(p[6:])
	p = p[8:]
	for range count {
		r := report{kind: recordTypes[p[0]], group: addr(p[4:])}
		n := int(binary.BigEndian.Uint16(p[2:]))
		for p = p[4+size:]; n > 0; n-- {
			r.sources = append(r.sources, addr(p))
			p = p[size:]
		}
		rs = append(rs, r)
	}
	return rs
}

// Switches and routers get a report of each join, block and leave.
func TestReportsOnTheWire(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range []struct {
			network                 string
			plain, specific, source netip.Addr
		}{
			{"udp4", netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("232.1.2.3"), netip.MustParseAddr("192.0.2.2")},
			{"udp6", netip.MustParseAddr("ff15::1234"), netip.MustParseAddr("ff35::1234"), netip.MustParseAddr("2001:db8::2")},
		} {
			t.Run(f.network, func(t *testing.T) {
				here, there := linked(t)
				fd := sniff(t, there, "eth")
				m := joinIn(t, here, udp.Config{}, f.network, ":0")
				require.NoError(t, m.Join(f.plain))
				awaitReport(t, fd, "to exclude", f.plain)
				require.NoError(t, m.BlockSource(f.plain, f.source))
				// Linux may report the group itself late, for example when an IPv6 address
				// becomes usable. It then includes the sources.
				awaitOneOf(t, fd, report{"block", f.plain, []netip.Addr{f.source}}, report{"to exclude", f.plain, []netip.Addr{f.source}})
				require.NoError(t, m.UnblockSource(f.plain, f.source))
				awaitOneOf(t, fd, report{"allow", f.plain, []netip.Addr{f.source}}, report{"to exclude", f.plain, nil})
				require.NoError(t, m.JoinSource(f.specific, f.source))
				awaitReport(t, fd, "allow", f.specific, f.source)
				require.NoError(t, m.LeaveSource(f.specific, f.source))
				awaitReport(t, fd, "block", f.specific, f.source)

				// A second report of an earlier change would be mistaken for the next one.
				awaitReport(t, fd, "block", f.specific, f.source)
				// The group is reported again also if another socket has joined it.
				other := joinIn(t, here, udp.Config{}, f.network, ":0", f.plain)

				// A cable that is plugged in again may lead to another switch, so the membership
				// is reported again. Linux alone would wait for a query.
				there.IP("link set eth down")
				sockettest.Eventually(t, func() bool { return here.Interface("eth").Flags&net.FlagRunning == 0 })
				m.seesAll(t)
				there.IP("link set eth up")
				awaitReport(t, fd, "to exclude", f.plain)
				sockettest.Finish(t, other.MulticastConn)
				require.NoError(t, m.Leave(f.plain))
				awaitReport(t, fd, "to include", f.plain)
			})
		}
	})
}

// Three hosts on a snooping switch: it forwards a group only to ports behind which a host has
// joined it.
func TestASwitchThatSnoops(t *testing.T) {
	netns.Run(t, func() {
		sw := snoopingSwitch(t)
		var hosts [3]*netns.NS
		for i := range hosts {
			hosts[i] = netns.New(t)
			port := fmt.Sprintf("port%d", i)
			netns.Veth(t, hosts[i], "eth", sw, port)
			sw.IP("link set " + port + " master sw")
			address(hosts[i], i+1)
		}
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) {
				marker, nobodys := f.other.Next(), f.other.Next().Next()
				sender := joinIn(t, hosts[0], udp.Config{}, f.network, ":0")
				left := joinIn(t, hosts[1], udp.Config{}, f.network, ":0", f.one, marker)
				right := joinIn(t, hosts[2], udp.Config{}, f.network, ":0", f.other, marker)
				onLeft, onRight := sniff(t, hosts[1], "eth"), sniff(t, hosts[2], "eth")
				await := func(is bool, port string, group netip.Addr) {
					t.Helper()
					entry := fmt.Sprintf("port %s grp %v ", port, group)
					sockettest.Eventually(t, func() bool {
						return strings.Contains(sw.Command("bridge", "mdb", "show", "dev", "sw"), entry) == is
					})
				}
				await(true, "port1", f.one)
				await(true, "port2", f.other)
				await(true, "port1", marker)
				await(true, "port2", marker)

				// leaves sends to a group and returns how many datagrams came out of either port.
				// A marker after them shows that there are no more. No socket listens on that
				// port, so hears receives only its own datagrams.
				rounds := 0
				leaves := func(group netip.Addr, n int) [2]int {
					t.Helper()
					rounds++
					what, last := fmt.Sprintf("datagram of round %d", rounds), fmt.Sprintf("end of round %d", rounds)
					for i := range n + 1 {
						data, to := what, group
						if i == n {
							data, to = last, marker
						}
						_, err := sender.SendGroup([]byte(data), to, sender.port(), hosts[0].Interface("eth"))
						require.NoError(t, err)
					}
					return [2]int{frames(t, onLeft, what, last), frames(t, onRight, what, last)}
				}
				// The switch floods until it is sure that there is no other querier.
				for begin := time.Now(); leaves(f.one, 1) != [2]int{1, 0}; {
					require.Less(t, time.Since(begin), sockettest.Patience, "the switch never snooped")
				}

				require.Equal(t, [2]int{20, 0}, leaves(f.one, 20))
				require.Equal(t, [2]int{0, 20}, leaves(f.other, 20))
				require.Equal(t, [2]int{20, 20}, leaves(marker, 20))
				require.Equal(t, [2]int{0, 0}, leaves(nobodys, 20))
				hears(t, left, sender, f.one, "eth")
				hears(t, right, sender, f.other, "eth")

				require.NoError(t, left.Leave(f.one))
				await(false, "port1", f.one)
				require.Equal(t, [2]int{0, 0}, leaves(f.one, 20))
				require.NoError(t, left.Join(f.one))
				await(true, "port1", f.one)
				require.Equal(t, [2]int{20, 0}, leaves(f.one, 20))
				hears(t, left, sender, f.one, "eth")
			})
		}
	})
}

// snoopingSwitch returns a namespace with a bridge, sw, that is a querier and snoops. Linux floods
// all groups while it knows no querier, and it counts itself only under two conditions
// (br_multicast_querier_exists in net/bridge/br_multicast.c). One response interval must have
// passed, of the length it had when mcast_querier was set: 10 s if one command sets both. And
// for IPv6 the bridge must have had an address at its last query, of which the second is sent
// after mcast_startup_query_interval, half a minute.
func snoopingSwitch(t testing.TB) *netns.NS {
	t.Helper()
	sw := netns.New(t)
	sw.IP("link add name sw type bridge mcast_snooping 1 mcast_igmp_version 3 mcast_mld_version 2 " +
		"mcast_query_response_interval 10 mcast_last_member_interval 10") // hundredths of a second
	sw.IP("link set sw addrgenmode none")
	sw.IP("addr add fe80::99/64 dev sw nodad")
	sw.IP("link set sw type bridge mcast_querier 1")
	sw.IP("link set sw up")
	return sw
}

// frames counts the frames that end with what, until one ends with last.
func frames(t testing.TB, fd int, what, last string) (n int) {
	t.Helper()
	for b := make([]byte, 1<<16); ; {
		size, _, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err, "not seen: %s", last)
		switch frame := string(b[:size]); {
		case strings.HasSuffix(frame, last):
			return n
		case strings.HasSuffix(frame, what):
			n++
		}
	}
}
