package udptest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A router decrements the TTL and keeps the traffic class.
func TestTheHeaderOfAMessageArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		lan, far := n.Segment("lan"), n.Segment("far")
		r := n.Router("r")
		r.Attach(lan, "eth0", "10.0.0.254/24", "fd00::ff/64")
		r.Attach(far, "eth1", "10.9.0.254/24", "fd09::ff/64")
		a, b := lan.Host("a", "10.0.0.1/24", "fd00::1/64"), far.Host("b", "10.9.0.1/24", "fd09::1/64")
		a.SetGateway("10.0.0.254")
		a.SetGateway("fd00::ff")
		var seen []udptest.Packet
		r.SetFilter(func(p udptest.Packet) udptest.Action { seen = append(seen, p); return udptest.Accept })
		for _, to := range []string{"10.9.0.1:7", "[fd09::1]:7"} {
			q := udp.NewQueue(1, udp.Block)
			s := listen(t, b.Config(), "udp", to, q)
			cfg := a.Config()
			cfg.TTL, cfg.TrafficClass = 9, 0x20
			c := dial(t, cfg, "udp", to, udp.BaseHandler{})
			for _, tt := range []struct {
				m     udp.Message
				ttl   int
				class uint8
			}{
				{udp.Message{}, 9, 0x20},
				{udp.Message{TTL: 255, TrafficClass: 0xb8, ECN: udp.ECT0}, 255, 0xb8 | 2},
			} {
				seen = nil
				_, err := c.SendBatch([]udp.Message{tt.m})
				require.NoError(t, err)
				d := <-q.Datagrams()
				require.Equal(t, tt.ttl-1, d.TTL())
				require.Equal(t, tt.class, d.TrafficClass())
				require.Equal(t, 2, d.IfIndex())
				require.Len(t, seen, 1)
				require.Equal(t, tt.ttl, seen[0].TTL)
				require.Equal(t, tt.class, seen[0].TrafficClass)
				d.Release()
			}
			closed(t, s)
		}
	})
}
