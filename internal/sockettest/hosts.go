package sockettest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
)

// ListenIn opens a socket in a namespace until the test ends.
func ListenIn(t *testing.T, ns *netns.NS, cfg udp.Config, network, address string, h udp.Handler) (c *udp.Conn) {
	t.Helper()
	var err error
	ns.Do(func() { c, err = cfg.Listen(context.Background(), network, address, h) })
	require.NoError(t, err)
	CloseAtEnd(t, c)
	return c
}

// TwoHosts are namespaces joined by their interfaces eth0, which have the addresses .1 and
// ::1, .2 and ::2.
func TwoHosts(t *testing.T) (here, there *netns.NS) {
	t.Helper()
	here, there = netns.New(t), netns.New(t)
	netns.Veth(t, here, "eth0", there, "eth0")
	for i, ns := range []*netns.NS{here, there} {
		ns.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
		ns.Addr("eth0", fmt.Sprintf("2001:db8::%d/64", i+1))
	}
	return here, there
}

// EchoIn sends datagrams back, on every address of a namespace.
func EchoIn(t *testing.T, ns *netns.NS) *udp.Conn {
	t.Helper()
	var c *udp.Conn
	var err error
	ns.Do(func() {
		c, err = udp.Listen(t.Context(), "udp", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) }))
	})
	require.NoError(t, err)
	CloseAtEnd(t, c)
	return c
}

// NamesZones reports whether the socket itself names zones. On the portable path package net
// does, and asks the namespace of the thread that it runs on.
func NamesZones(c *udp.Conn) bool { return c.Info().Batch > 1 }
