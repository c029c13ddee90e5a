package refusals_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The members of a group on this host receive a datagram before the interface rejects the copy
// for the wire (ENOBUFS). However it is sent, they receive it once.
func TestAGroupDatagramIsSentOnce(t *testing.T) {
	const sends = 12
	type sender struct {
		name      string
		cfg       udp.Config
		connected bool
		send      func(t *testing.T, c *udp.MulticastConn, to netip.AddrPort, ifindex int)
	}
	one := func(_ *testing.T, c *udp.MulticastConn, to netip.AddrPort, _ int) {
		for range sends {
			_ = c.SendTo([]byte("datagram"), to)
		}
	}
	batch := func(t *testing.T, c *udp.MulticastConn, to netip.AddrPort, ifindex int) {
		ms := make([]udp.Message, sends)
		for i := range ms {
			ms[i] = udp.Message{Data: []byte("datagram"), To: to, IfIndex: ifindex}
		}
		_, _ = c.SendBatch(ms)
	}
	enqueue := func(_ *testing.T, c *udp.MulticastConn, to netip.AddrPort, ifindex int) {
		for range sends {
			_ = c.Enqueue(udp.Message{Data: []byte("datagram"), To: to, IfIndex: ifindex})
		}
		_ = c.Flush()
	}
	group := func(t *testing.T, c *udp.MulticastConn, to netip.AddrPort, ifindex int) {
		for range sends {
			_, _ = c.SendGroup([]byte("datagram"), to.Addr(), to.Port())
		}
	}
	hears := udp.Config{PeerErrors: true}
	for _, s := range []sender{
		{"SendTo", udp.Config{}, false, one},
		{"SendTo, PeerErrors", hears, false, one},
		{"SendGroup, PeerErrors", hears, false, group},
		{"SendBatch", udp.Config{}, false, batch},
		{"SendBatch, PeerErrors", hears, false, batch},
		{"SendBatch, PeerErrors, NoOffload", udp.Config{PeerErrors: true, NoOffload: true}, false, batch},
		{"Enqueue, PeerErrors", hears, false, enqueue},
		{"SendTo, connected", udp.Config{}, true, one},
		{"SendBatch, connected", udp.Config{}, true, batch},
	} {
		for _, to := range []string{"239.1.2.3", "ff05::123", "192.0.2.255"} {
			t.Run(s.name+" to "+to, func(t *testing.T) {
				needsPeerErrors(t, s.cfg.PeerErrors)
				netns.Run(t, func() {
					ns := netns.New(t)
					netns.Veth(t, ns, "full", ns, "far")
					ns.Addr("full", "192.0.2.1/24", "2001:db8::1/64")
					// The queue is too short for any datagram.
					ns.Command("tc", "qdisc", "add", "dev", "full", "root", "tbf", "rate", "1kbit", "burst", "10", "limit", "10")

					address := netip.MustParseAddr(to)
					full := ns.Interface("full")
					var got atomic.Int64
					var member, sender *udp.MulticastConn
					ns.Do(func() {
						var err error
						member, err = udp.ListenMulticast(context.Background(), "udp", ":0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got.Add(1) }))
						require.NoError(t, err)
						cfg := s.cfg
						cfg.Broadcast = true
						sender, err = cfg.ListenMulticast(context.Background(), "udp", ":0", udp.BaseHandler{})
						require.NoError(t, err)
						require.NoError(t, sender.SetMulticastInterface(full))
						if address.IsMulticast() {
							require.NoError(t, member.Join(address, full))
							require.NoError(t, sender.Join(address, full)) // for SendGroup
						}
					})
					sockettest.CloseAtEnd(t, member)
					sockettest.CloseAtEnd(t, sender)
					at := netip.AddrPortFrom(address, member.LocalAddrPort().Port())
					if s.name == "SendGroup, PeerErrors" && !address.IsMulticast() {
						return // SendGroup is for groups
					}
					index := full.Index
					if s.connected {
						_, err := sender.Connect(at)
						require.NoError(t, err)
						index = 0
					}
					s.send(t, sender, at, index)
					require.Eventually(t, func() bool { return got.Load() >= sends }, sockettest.Patience, 1e6)
					require.NoError(t, sender.Shutdown(t.Context()))
					require.NoError(t, member.Shutdown(t.Context())) // handles what has arrived
					require.EqualValues(t, sends, got.Load(), "sender: %v", sender.Stats())
					st := sender.Stats()
					require.EqualValues(t, sends, st.Sent+st.SendErrors)
					require.Equal(t, st.SendErrors, st.SendFailed.NoBuffers)
				})
			})
		}
	}
}

// A destination without a route is confirmed once, also by sockets whose sends may meet
// ICMP errors, and costs the other messages of the batch nothing.
func TestADestinationWithoutARouteIsConfirmedOnce(t *testing.T) {
	for _, hears := range []bool{false, true} {
		for _, network := range []string{"udp4", "udp6", "udp"} {
			t.Run(fmt.Sprintf("%s, PeerErrors %v", network, hears), func(t *testing.T) {
				needsPeerErrors(t, hears)
				netns.Run(t, func() {
					here, there := netns.New(t), netns.New(t)
					netns.Veth(t, here, "eth0", there, "eth0")
					here.Addr("eth0", "192.0.2.1/24")
					there.Addr("eth0", "192.0.2.2/24")
					here.Addr("eth0", "2001:db8::1/64")
					there.Addr("eth0", "2001:db8::2/64")
					q := udp.NewQueue(100, udp.Block)
					server := sockettest.ListenIn(t, there, udp.Config{}, "udp", ":0", q)
					c := sockettest.ListenIn(t, here, udp.Config{PeerErrors: hears}, network, ":0", udp.BaseHandler{})
					port := server.LocalAddrPort().Port()
					good, bad := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.1")
					if network == "udp6" {
						good, bad = netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:ffff::1")
					}
					ms := make([]udp.Message, 50)
					for i := range ms {
						to := good
						if i%10 == 5 {
							to = bad
						}
						ms[i] = udp.Message{Data: fmt.Append(nil, i), To: netip.AddrPortFrom(to, port)}
					}
					sent, err := c.SendBatch(ms)
					require.Equal(t, 45, sent)
					var failed *udp.BatchError
					require.ErrorAs(t, err, &failed)
					require.Len(t, failed.Failed, 5)
					for range sent {
						sockettest.Next(t, q.Datagrams()).Release()
					}
					st := c.Stats()
					require.EqualValues(t, 45, st.Sent)
					require.Equal(t, udp.SendFailures{Unreachable: 5}, st.SendFailed)
					require.LessOrEqual(t, st.Retried, uint64(5))
				})
			})
		}
	}
}

// needsPeerErrors skips a test that wants them where no socket has an error queue.
func needsPeerErrors(t *testing.T, wanted bool) {
	t.Helper()
	if !wanted {
		return
	}
	c, err := udp.Config{PeerErrors: true}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	sockettest.Stop(t, c)
}
