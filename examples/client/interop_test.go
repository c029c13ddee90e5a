package main

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestTwistedPeerStartsAfterTheClient(t *testing.T) {
	program.NeedTwisted(t)
	// A connected socket refuses everybody but its peer, and no other program can take its port.
	holder, err := udp.Config{ReuseAddr: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer holder.Close()
	_, err = holder.Connect(netip.MustParseAddrPort("127.0.0.1:9"))
	require.NoError(t, err)
	port := strconv.Itoa(int(holder.LocalAddrPort().Port()))

	p := start(t, "-wait", "5ms", "-tries", "100000", "127.0.0.1:"+port, "hello")
	p.Line(`^nobody listens: .*refused`)
	p.Line(`^nobody listens: .*refused`)
	peer := program.Twisted(t, "testdata/server.py", port)
	peer.Line("^listening")
	peer.Line("^received hello")
	p.Line(`^received "hello" from 127\.0\.0\.1:` + port)
	peer.Stop()
	p.Rest()
	require.NoError(t, p.Err())
	require.Zero(t, holder.Stats().Received)
}
