package ecosystem

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sourceIP replaces the routing table of this machine.
type sourceIP net.IP

func (s sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IP(s), nil
}

// libp2pNode returns the QUIC transport of a node whose sockets are of a place.
func libp2pNode(t *testing.T, at place) (transport.Transport, peer.ID, io.Closer) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	require.NoError(t, err)
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	m, err := quicreuse.NewConnManager(quic.StatelessResetKey{}, quic.TokenGeneratorKey{},
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) {
			return sourceIP(net.ParseIP(at.addr)), nil
		}),
		quicreuse.OverrideListenUDP(func(string, *net.UDPAddr) (net.PacketConn, error) {
			return at.ListenPacket(context.Background(), "udp4", at.addr+":0")
		}))
	require.NoError(t, err)
	node, err := libp2pquic.NewTransport(key, m, nil, nil, &network.NullResourceManager{})
	require.NoError(t, err)
	return node, id, m
}

func TestLibp2p(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		s, id, sm := libp2pNode(t, server)
		c, _, cm := libp2pNode(t, client)
		l, err := s.Listen(multiaddr.StringCast("/ip4/" + server.addr + "/udp/0/quic-v1"))
		require.NoError(t, err)
		got := make(chan []byte, 1)
		go func() { got <- receiveLibp2p(t, l) }()
		conn, err := c.Dial(context.Background(), l.Multiaddr(), id)
		require.NoError(t, err)
		stream, err := conn.OpenStream(context.Background())
		require.NoError(t, err)
		sent := pattern(1 << 20)
		_, err = stream.Write(sent)
		require.NoError(t, err)
		require.NoError(t, stream.CloseWrite())
		require.True(t, bytes.Equal(sent, <-got), "what arrived differs from what was sent")
		require.NoError(t, conn.Close())
		require.NoError(t, l.Close())
		require.NoError(t, cm.Close())
		require.NoError(t, sm.Close())
	})
}

func receiveLibp2p(t *testing.T, l transport.Listener) []byte {
	c, err := l.Accept()
	if !assert.NoError(t, err) {
		return nil
	}
	stream, err := c.AcceptStream()
	if !assert.NoError(t, err) {
		return nil
	}
	b, err := io.ReadAll(stream)
	assert.NoError(t, err)
	return b
}
