package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/examples/internal/program"
)

const group = "239.255.80.5"

func TestTwistedFindsOurServer(t *testing.T) {
	program.NeedTwisted(t)
	server := start(t, "serve", "-interface", program.Loopback(t).Name, "-group", group+":0")
	_, port, err := net.SplitHostPort(server.Line(`^serving (\S+)`)[1])
	require.NoError(t, err)
	client := program.Twisted(t, "testdata/client.py", group, port)
	client.Line("^client received data from 127.0.0.1:" + port)
	client.Rest()
	require.NoError(t, client.Err())
	server.Line(`asked for "UniqueID"$`)
	require.Empty(t, server.Stop()) // it did not reply to the other one
}

func TestOurClientFindsTwisted(t *testing.T) {
	server := program.Twisted(t, "testdata/server.py", group)
	port := server.Line(`^serving (\d+)`)[1]
	client := start(t, "find", "-interface", program.Loopback(t).Name, "-group", group+":"+port, "-wait", "1m", "-count", "1")
	client.Line(`^\S+:` + port + ` replied "data"$`)
	client.Rest()
	require.NoError(t, client.Err())
	server.Line("^server received UniqueID")
}
