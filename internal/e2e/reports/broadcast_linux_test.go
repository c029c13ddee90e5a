package reports

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

var everybody = netip.MustParseAddr("255.255.255.255")

// broadcastFrom sends a UDP datagram by a packet socket, as a DHCP client does that has no
// address yet.
func broadcastFrom(t *testing.T, ns *netns.NS, device string, from, to netip.AddrPort, data string) {
	t.Helper()
	ip := make([]byte, 28, 28+len(data))
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(data)))
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(ip[20:], from.Port())
	binary.BigEndian.PutUint16(ip[22:], to.Port())
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(data)))
	ip = append(ip, data...)
	index := ns.Interface(device).Index
	ns.Do(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		sa := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
		require.NoError(t, unix.Sendto(fd, ip, 0, sa))
	})
}

// Report 4: a DHCP client asks from 0.0.0.0:68. A reply to that address would be sent to the
// loopback address. The server broadcasts on the interface that the request arrived on.
func TestAClientWithoutAnAddress(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		here := listen(t, l.s, udp.Config{}, "udp4", "127.0.0.1:6868", nil)
		c1 := listen(t, l.c, udp.Config{Device: "c1"}, "udp4", ":6868", nil)
		c2 := listen(t, l.c, udp.Config{Device: "c2"}, "udp4", ":6868", nil)
		for _, network := range []string{"udp4", "udp"} {
			errs := make(chan error, 1)
			answers := make(chan error, 1)
			server := listen(t, l.s, udp.Config{Broadcast: true}, network, ":0", func(d udp.Datagram) {
				errs <- d.Reply(d.Data)
				_, err := d.Conn().SendBroadcast([]byte("offer"), d.From.Port(), &net.Interface{Index: d.IfIndex(), Name: "s2"})
				answers <- err
			})
			broadcastFrom(t, l.c, "c2", netip.MustParseAddrPort("0.0.0.0:6868"), netip.AddrPortFrom(everybody, server.port()), "discover")
			got := sockettest.Next(t, server.got)
			require.Equal(t, netip.MustParseAddrPort("0.0.0.0:6868"), got.from)
			require.Equal(t, everybody, got.to.Addr())
			var addr *net.AddrError
			require.ErrorAs(t, sockettest.Next(t, errs), &addr)
			require.NoError(t, sockettest.Next(t, answers))
			offer := sockettest.Next(t, c2.got)
			require.Equal(t, "offer", offer.data)
			require.Equal(t, "10.0.2.1", offer.from.Addr().String())
			require.EqualValues(t, 1, server.Stats().Sent)
			require.EqualValues(t, 1, server.Stats().SendErrors)
		}
		require.Empty(t, c1.got, "the other link")
		require.Empty(t, here.got, "the loopback address")
	})
}

// Report 8: one socket broadcasts on every interface and on a chosen one, and replies to a
// broadcast on the link that it arrived on, although the default route is on another.
func TestBroadcastsByEveryInterface(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.s.IP("route add default dev s1")
		l.s.IP("link add idle type veth peer name end") // down
		c1 := listen(t, l.c, udp.Config{Device: "c1"}, "udp4", ":7007", nil)
		c2 := listen(t, l.c, udp.Config{Device: "c2", Broadcast: true}, "udp4", ":7007", nil)
		for _, network := range []string{"udp4", "udp"} {
			server := listen(t, l.s, udp.Config{Broadcast: true, InterfaceFilter: func(i *net.Interface) bool { return i.Name != "lo" }},
				network, ":0", func(d udp.Datagram) {
					_, err := d.Conn().SendBroadcast([]byte("here"), 7007, &net.Interface{Index: d.IfIndex(), Name: "?"})
					require.NoError(t, err)
				})
			sent, err := server.SendBroadcast([]byte("all"), 7007)
			require.NoError(t, err)
			require.Equal(t, []udp.GroupSend{
				{Name: "s1", Index: l.s.Interface("s1").Index}, {Name: "s2", Index: l.s.Interface("s2").Index},
			}, sent)
			for n, c := range []*socket{c1, c2} {
				r := sockettest.Next(t, c.got)
				require.Equal(t, "all", r.data)
				require.Equal(t, []string{"10.0.1.1", "10.0.2.1"}[n], r.from.Addr().String())
			}
			sent, err = server.SendBroadcast([]byte("one"), 7007, l.s.Interface("s2"), &net.Interface{Name: "none"}, l.s.Interface("idle"))
			require.NoError(t, err)
			require.NoError(t, sent[0].Err)
			require.ErrorIs(t, sent[1].Err, unix.ENODEV)
			require.Error(t, sent[2].Err)
			require.Equal(t, "one", sockettest.Next(t, c2.got).data)
			require.EqualValues(t, 2, server.Stats().SendErrors)

			require.NoError(t, c2.SendTo([]byte("query"), netip.AddrPortFrom(netip.MustParseAddr("10.0.2.255"), server.port())))
			require.Equal(t, "query", sockettest.Next(t, server.got).data)
			require.Equal(t, "here", sockettest.Next(t, c2.got).data)
			require.Empty(t, c1.got)
		}
		bound := listen(t, l.s, udp.Config{Broadcast: true}, "udp4", "10.0.1.1:0", nil)
		_, err := bound.SendBroadcast([]byte("bound"), 7007, l.s.Interface("s2"))
		require.NoError(t, err)
		require.Equal(t, bound.LocalAddrPort(), sockettest.Next(t, c2.got).from, "the socket's own address stays")
	})
}

// What a broadcast needs, and the error when that is missing.
func TestBroadcastsThatCannotBeSent(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		plain := listen(t, l.s, udp.Config{}, "udp4", ":0", nil)
		sent, err := plain.SendBroadcast(nil, 7007)
		require.ErrorIs(t, err, unix.EACCES)
		require.Len(t, sent, 2)
		require.EqualValues(t, 2, plain.Stats().SendFailed.Denied)
		v6 := listen(t, l.s, udp.Config{Broadcast: true}, "udp6", "[::1]:0", nil)
		_, err = v6.SendBroadcast(nil, 7007)
		require.ErrorIs(t, err, udp.ErrFamily)
		client := dial(t, l.s, udp.Config{Broadcast: true}, "10.0.1.2:7")
		_, err = client.SendBroadcast(nil, 7007)
		require.ErrorIs(t, err, unix.EISCONN)
		_, err = plain.SendBroadcast(nil, 7007, nil)
		require.Error(t, err)

		alone := netns.New(t) // nothing but lo
		quiet := listen(t, alone, udp.Config{Broadcast: true}, "udp4", ":0", nil)
		_, err = quiet.SendBroadcast(nil, 7007)
		require.ErrorIs(t, err, unix.ENODEV)
		sockettest.Finish(t, quiet.Conn)
		_, err = quiet.SendBroadcast(nil, 7007)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = new(udp.Conn).SendBroadcast(nil, 7007)
		require.Error(t, err)
	})
}
