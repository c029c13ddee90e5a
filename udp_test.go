package udp_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

func TestEcho(t *testing.T) {
	for _, network := range []string{"udp", "udp4"} {
		t.Run(network, func(t *testing.T) {
			ctx := context.Background()
			server, err := udp.Listen(ctx, network, "localhost:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				if err := d.Reply(d.Data); err != nil {
					t.Error(err)
				}
			}))
			require.NoError(t, err)
			defer sockettest.Stop(t, server)
			q := udp.NewQueue(10, udp.Block)
			client, err := udp.Dial(ctx, network, server.LocalAddrPort().String(), q)
			require.NoError(t, err)
			defer sockettest.Stop(t, client)
			require.NoError(t, client.Send([]byte("hello")))
			require.NoError(t, client.Send(nil))
			d := <-q.Datagrams()
			require.Equal(t, "hello", string(d.Data))
			d = <-q.Datagrams()
			require.Empty(t, d.Data)
			t.Log(d.From, d.To().Addr(), server.Info(), client.Stats())
		})
	}
}

func TestRefused(t *testing.T) {
	ctx := context.Background()
	dead := sockettest.DeadPort(t, "udp4")
	q := udp.NewQueue(10, udp.Block)
	client, err := udp.Dial(ctx, "udp", dead.String(), q)
	require.NoError(t, err)
	require.NoError(t, client.Send([]byte("one")))
	r := <-q.Refusals()
	t.Log(r)
	require.ErrorIs(t, r, udp.ErrRefused)
	require.Equal(t, dead, r.Peer)
	port := client.LocalAddrPort().Port()
	c, err := client.Disconnect()
	require.NoError(t, err)
	require.Equal(t, port, c.LocalAddrPort().Port())
	t.Log(c)
	sockettest.Stop(t, c)
}
