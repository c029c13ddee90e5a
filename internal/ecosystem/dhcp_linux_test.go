package ecosystem

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// offer answers requests for an address with 10.0.0.100.
func offer(c net.PacketConn, peer net.Addr, q *dhcpv4.DHCPv4) {
	kind := dhcpv4.MessageTypeOffer
	if q.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	r, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 100)), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 0, 1))))
	if err == nil {
		_, _ = c.WriteTo(r.ToBytes(), peer)
	}
}

// On the kernel's sockets the client asks the server's address, on the simulated network the
// broadcast address.
func TestDHCP(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		listen := func(p place, address string) *udp.PacketConn {
			if !p.simulated {
				return p.listen(t)
			}
			c, err := p.ListenPacket(t.Context(), "udp4", address)
			require.NoError(t, err)
			return c
		}
		sc, cc := listen(server, ":67"), listen(client, ":68")
		s, err := server4.NewServer("", nil, offer, server4.WithConn(sc))
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve() }()

		to := nclient4.DefaultServers
		if !server.simulated {
			to = sc.LocalAddr().(*net.UDPAddr)
		}
		c, err := nclient4.NewWithConn(cc, net.HardwareAddr{2, 0, 0, 0, 0, 1}, nclient4.WithServerAddr(to),
			nclient4.WithTimeout(time.Second), nclient4.WithRetry(10))
		require.NoError(t, err)
		for range 20 {
			lease, err := c.Request(context.Background())
			require.NoError(t, err)
			require.Equal(t, "10.0.0.100", lease.ACK.YourIPAddr.String())
		}
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		assert.ErrorIs(t, <-ended, net.ErrClosed)
	})
}
