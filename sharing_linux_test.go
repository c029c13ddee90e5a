package udp_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
)

// A port can be shared only by a program that offers it: without ReuseAddr and
// ReusePort nobody binds to it, whatever options and address another socket has. With
// ReuseAddr Linux gives unicast to the socket that was bound last.
func TestNobodySharesAPortThatWasNotOffered(t *testing.T) {
	every := udp.Config{ReuseAddr: true, ReusePort: true}
	for _, own := range []string{"127.0.0.1:0", ":0"} {
		c := listenAt(t, udp.Config{}, "udp4", own, udp.BaseHandler{})
		_, port, err := net.SplitHostPort(c.LocalAddrPort().String())
		require.NoError(t, err)
		for _, network := range []string{"udp", "udp4"} {
			for _, host := range []string{"127.0.0.1", "0.0.0.0", ""} {
				_, err := every.Listen(context.Background(), network, net.JoinHostPort(host, port), udp.BaseHandler{})
				require.ErrorIs(t, err, unix.EADDRINUSE, "%s on %s", network, host)
			}
		}
	}
	first, second := udp.NewQueue(1, udp.Block), udp.NewQueue(1, udp.Block)
	c := listenAt(t, udp.Config{ReuseAddr: true}, "udp4", "127.0.0.1:0", first)
	listenAt(t, udp.Config{ReuseAddr: true}, "udp4", c.LocalAddrPort().String(), second)
	require.NoError(t, dial(t, c.LocalAddrPort(), udp.BaseHandler{}).Send([]byte("taken")))
	require.Equal(t, "taken", string(next(t, second.Datagrams()).Data))
}
