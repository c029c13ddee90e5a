package reports

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// tooBig makes the host of ns report that a datagram between two addresses did not fit a link
// on its path (RFC 1191), as anybody can.
func tooBig(t *testing.T, ns *netns.NS, from, to netip.AddrPort, mtu uint16) {
	t.Helper()
	b := make([]byte, 8+28)
	b[0], b[1] = 3, 4
	binary.BigEndian.PutUint16(b[6:], mtu)
	ip := b[8:]
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], 1400)
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[20:], from.Port())
	binary.BigEndian.PutUint16(ip[22:], to.Port())
	binary.BigEndian.PutUint16(ip[24:], 1380)
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	ns.Do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: from.Addr().As4()}))
	})
}

// Report 28: a forged ICMP error says that the path carries 600 bytes. A socket with
// MTUDiscoveryDo believes it and returns an error. One with MTUDiscoveryProbe or
// MTUDiscoveryOmit continues to send, and errors forged for its flow affect no other socket.
func TestForgedMTUs(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		server := listen(t, l.c, udp.Config{}, "udp4", ":0", nil)
		to, local := server.at("10.0.1.2"), netip.MustParseAddr("10.0.1.1")
		sends := func(mode udp.MTUDiscovery) (*socket, func() error) {
			c := listen(t, l.s, udp.Config{MTUDiscovery: mode}, "udp4", ":0", nil)
			return c, func() error {
				err := c.SendTo(make([]byte, 1000), to)
				if err == nil {
					require.Len(t, sockettest.Next(t, server.got).data, 1000)
				}
				return err
			}
		}
		do, sendDo := sends(udp.MTUDiscoveryDo)
		probe, sendProbe := sends(udp.MTUDiscoveryProbe)
		omit, sendOmit := sends(udp.MTUDiscoveryOmit)
		_, sendDefault := sends(udp.MTUDiscoveryDefault)

		for range 3 {
			tooBig(t, l.c, netip.AddrPortFrom(local, omit.port()), to, 600)
			require.NoError(t, sendOmit())
			require.NoError(t, sendDo(), "it is forged about another one's flow")
		}
		var size *udp.SizeError
		sockettest.Eventually(t, func() bool { // it takes its time
			tooBig(t, l.c, netip.AddrPortFrom(local, do.port()), to, 600)
			return sendDo() != nil
		})
		require.ErrorAs(t, sendDo(), &size)
		require.Equal(t, 600, size.MTU)
		require.Equal(t, 600-28, size.Max)
		tooBig(t, l.c, netip.AddrPortFrom(local, probe.port()), to, 600)
		require.NoError(t, sendProbe())
		require.NoError(t, sendOmit())
		require.NoError(t, sendDefault(), "in fragments")
	})
}
