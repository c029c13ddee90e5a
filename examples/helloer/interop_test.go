package main

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestTwistedPeerStopsAndComesBack(t *testing.T) {
	program.NeedTwisted(t)
	// Connected to somebody else, this socket hears nothing; while nobody else is
	// on its port, nobody listens there, and no other program can take it.
	holder, err := udp.Config{ReuseAddr: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer holder.Close()
	_, err = holder.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)
	port := strconv.Itoa(int(holder.LocalAddrPort().Port()))

	p := start(t, "-every", "5ms", "127.0.0.1:"+port)
	for range 3 {
		p.Line(`^nobody listens: .*refused`)
		p.Line(`^nobody listens: .*refused`)

		peer := program.Twisted(t, "testdata/server.py", port)
		peer.Line("^listening")
		peer.Line("^received hello")
		p.Line(`^received "hello" from 127\.0\.0\.1:` + port)
		peer.Stop()
	}
	p.Line(`^nobody listens: .*refused`)
	p.Stop()
	require.NoError(t, p.Err())
	require.Zero(t, holder.Stats().Received)
}
