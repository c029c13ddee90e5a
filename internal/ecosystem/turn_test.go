package ecosystem

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
	"github.com/stretchr/testify/require"
)

// relays opens the relay's sockets on a place.
type relays struct{ place }

func (relays) Validate() error { return nil }

func (r relays) AllocatePacketConn(network string, port int) (net.PacketConn, net.Addr, error) {
	c, err := r.ListenPacket(context.Background(), network, net.JoinHostPort(r.addr, strconv.Itoa(port)))
	if err != nil {
		return nil, nil, err
	}
	return c, c.LocalAddr(), nil
}

func (relays) AllocateConn(string, int) (net.Conn, net.Addr, error) { return nil, nil, net.ErrClosed }

func TestTURN(t *testing.T) {
	everywhere(t, func(t *testing.T, server, client place) {
		logs := logging.NewDefaultLoggerFactory()
		logs.DefaultLogLevel = logging.LogLevelDisabled
		key := turn.GenerateAuthKey("anne", "test", "secret")
		pc := server.listen(t)
		s, err := turn.NewServer(turn.ServerConfig{
			Realm:         "test",
			LoggerFactory: logs,
			AuthHandler:   func(string, string, net.Addr) ([]byte, bool) { return key, true },
			PacketConnConfigs: []turn.PacketConnConfig{{
				PacketConn: pc, RelayAddressGenerator: relays{server},
			}},
		})
		require.NoError(t, err)
		cc := client.listen(t)
		c, err := turn.NewClient(&turn.ClientConfig{
			TURNServerAddr: pc.LocalAddr().String(), STUNServerAddr: pc.LocalAddr().String(),
			Conn: cc, Username: "anne", Password: "secret", Realm: "test", LoggerFactory: logs,
		})
		require.NoError(t, err)
		require.NoError(t, c.Listen())
		relay, err := c.Allocate()
		require.NoError(t, err)

		// A peer on the server's side exchanges datagrams with the client's relay.
		peer := server.listen(t)
		b := make([]byte, 1500)
		for range 20 {
			answered := false
			for try := 0; try < 50 && !answered; try++ { // TURN does not retransmit data
				_, err = relay.WriteTo([]byte("to the peer"), peer.LocalAddr())
				require.NoError(t, err)
				require.NoError(t, peer.SetReadDeadline(deadline()))
				n, from, err := peer.ReadFrom(b)
				if isTimeout(err) {
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "to the peer", string(b[:n]))
				require.Equal(t, relay.LocalAddr().String(), from.String())
				_, err = peer.WriteTo([]byte("to the client"), from)
				require.NoError(t, err)
				require.NoError(t, relay.SetReadDeadline(deadline()))
				n, from, err = relay.ReadFrom(b)
				if isTimeout(err) {
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "to the client", string(b[:n]))
				require.Equal(t, peer.LocalAddr().String(), from.String())
				answered = true
			}
			require.True(t, answered)
		}
		_ = relay.Close()
		c.Close()
		require.NoError(t, s.Close())
		require.NoError(t, peer.Close())
		_ = cc.Close()
	})
}
