package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/examples/internal/program"
)

func TestTwistedPeerStopsAndComesBack(t *testing.T) {
	const script = "testdata/server.py"
	peer := program.Twisted(t, script, "0")
	port := peer.Line(`^listening on (\d+)$`)[1]
	p := start(t, "-every", "5ms", "127.0.0.1:"+port)
	p.Line(`^received "hello" from 127\.0\.0\.1:` + port)

	for range 3 {
		peer.Stop()
		p.Line(`^nobody listens: .*refused`)
		p.Line(`^nobody listens: .*refused`)

		peer = program.Twisted(t, script, port)
		peer.Line("^listening on " + port)
		peer.Line("^received hello")
		p.Line(`^received "hello"`)
	}
	p.Stop()
	require.NoError(t, p.Err())
}
