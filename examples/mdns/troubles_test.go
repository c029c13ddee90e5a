package main

import (
	"bytes"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

func TestAnnouncementsThatFailAgainAreReportedOnce(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	host := n.Host("a", "10.0.0.1")
	m, err := udp.Config{Network: host.Network()}.ListenMulticast(t.Context(), "udp4", ":5353", udp.BaseHandler{})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Join(groups["udp4"], host.Interface("eth0").NetInterface()))
	joined := m.Memberships()[0]

	var out bytes.Buffer
	failing := &troubles{out: &out}
	for _, met := range []error{syscall.EIO, syscall.EIO, syscall.ENETDOWN, syscall.ENETDOWN, nil, syscall.ENETDOWN} {
		if met != nil {
			host.FailSend(5353, 1, met)
		}
		tell(m, joined, func([]netip.Addr) []dnsmessage.Resource { return web(t).goodbye() }, failing)
	}
	reported := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, reported, 3)
	for i, want := range []error{syscall.EIO, syscall.ENETDOWN, syscall.ENETDOWN} {
		require.Contains(t, reported[i], "eth0: ")
		require.Contains(t, reported[i], want.Error())
	}
}
