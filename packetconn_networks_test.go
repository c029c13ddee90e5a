package udp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// onNetworks runs f with the configs of two hosts: on the kernel's loopback interface,
// and on a simulated network in virtual time.
func onNetworks(t *testing.T, f func(t *testing.T, server, client udp.Config, host string)) {
	t.Run("kernel", func(t *testing.T) { f(t, udp.Config{}, udp.Config{}, "127.0.0.1") })
	t.Run("simulated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.NewNet(t, udptest.Config{})
			a, b := n.Host("a", "10.0.0.1/24", "10.0.0.3/24"), n.Host("b", "10.0.0.2/24")
			f(t, udp.Config{Network: a.Network()}, udp.Config{Network: b.Network()}, "10.0.0.1")
		})
	})
}

func listenPacket(t *testing.T, cfg udp.Config, network, address string) *udp.PacketConn {
	t.Helper()
	c, err := cfg.ListenPacket(t.Context(), network, address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func dialPacket(t *testing.T, cfg udp.Config, network, address string) *udp.PacketConn {
	t.Helper()
	c, err := cfg.DialContext(t.Context(), network, address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*udp.PacketConn)
}

func portOf(c net.PacketConn) string { return strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port) }

func requireAgreement(t *testing.T, c *udp.PacketConn) {
	t.Helper()
	s := c.Stats()
	require.Equal(t, s.Received, s.Handled+s.Dropped.Total())
}

// Deadlines are those of the bubble's clock.
func TestPacketConnDeadlinesInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		c := listenPacket(t, udp.Config{Network: n.Host("a", "10.0.0.1/24").Network()}, "udp", ":0")
		begin := time.Now()
		require.NoError(t, c.SetReadDeadline(begin.Add(time.Hour)))
		errs := make(chan error, 3)
		for range 3 { // all but one wait for their turn
			go func() {
				_, _, err := c.ReadFrom(nil)
				errs <- err
			}()
		}
		for range 3 {
			require.ErrorIs(t, <-errs, os.ErrDeadlineExceeded)
		}
		require.Equal(t, time.Hour, time.Since(begin))

		go func() {
			time.Sleep(time.Minute)
			c.SetReadDeadline(time.Now())
		}()
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, _, err := c.ReadFrom(nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Hour+time.Minute, time.Since(begin))

		go func() {
			time.Sleep(time.Minute)
			c.Close()
		}()
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, _, err = c.ReadFrom(nil)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// A socket bound to every address replies from the one that was asked, to each peer
// from its own, and after the peer has asked another one from that.
func TestPacketConnRepliesFromTheAskedAddress(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		second := "127.0.0.2"
		if client.Network != nil {
			second = "10.0.0.3"
		}
		for _, network := range []string{"udp4", "udp"} {
			s := listenPacket(t, server, network, ":0")
			c := listenPacket(t, client, "udp4", ":0")
			b := make([]byte, 10)
			for _, host := range []string{host, second, host} {
				to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(host + ":" + portOf(s)))
				for range 2 {
					_, err := c.WriteTo([]byte("x"), to)
					require.NoError(t, err)
					_, from, err := s.ReadFrom(b)
					require.NoError(t, err)
					_, err = s.WriteTo([]byte("y"), from)
					require.NoError(t, err)
					_, from, err = c.ReadFrom(b)
					require.NoError(t, err)
					require.Equal(t, to.String(), from.String())
				}
			}
		}
	})
}

// ReadBatch gives what arrived, with control messages that WriteBatch takes.
func TestPacketConnBatches(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		for _, network := range []string{"udp4", "udp"} {
			s := listenPacket(t, server, network, ":0")
			c := dialPacket(t, client, "udp4", host+":"+portOf(s))
			out := make([]ipv4.Message, 20)
			for i := range out {
				out[i].Buffers = [][]byte{[]byte("dgram "), []byte(strconv.Itoa(i))}
			}
			n, err := c.WriteBatch(out, 0)
			require.NoError(t, err)
			require.Equal(t, len(out), n)
			require.Equal(t, len("dgram 19"), out[19].N)

			in := make([]ipv4.Message, 7)
			for i := range in {
				in[i].Buffers = [][]byte{make([]byte, 3), make([]byte, 100)}
				in[i].OOB = make([]byte, 128)
			}
			for got := 0; got < len(out); {
				n, err := s.ReadBatch(in, 0)
				require.NoError(t, err)
				require.Positive(t, n)
				var replies []ipv4.Message
				for _, m := range in[:n] {
					require.Equal(t, "dgr", string(m.Buffers[0]))
					require.Equal(t, "am "+strconv.Itoa(got), string(m.Buffers[1][:m.N-3]))
					require.Equal(t, c.LocalAddr().String(), m.Addr.String())
					require.Zero(t, m.Flags)
					require.Positive(t, m.NN)
					var cm ipv4.ControlMessage
					require.NoError(t, cm.Parse(m.OOB[:m.NN]))
					if cm.Dst == nil {
						t.Skip("golang.org/x/net reads no control messages here")
					}
					require.Equal(t, host, cm.Dst.String())
					require.Positive(t, cm.IfIndex)
					reply := ipv4.ControlMessage{Src: cm.Dst}
					replies = append(replies, ipv4.Message{Buffers: m.Buffers[:1], OOB: reply.Marshal(), Addr: m.Addr})
					got++
				}
				for len(replies) > 0 {
					n, err := s.WriteBatch(replies, 0)
					require.NoError(t, err)
					replies = replies[n:]
				}
			}
			b := make([]byte, 10)
			for range out {
				n, err := c.Read(b)
				require.NoError(t, err)
				require.Equal(t, "dgr", string(b[:n]))
			}
			_, err = s.ReadBatch(in, 1)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			requireAgreement(t, s)
		}
	})
}

// Receive copies nothing: what it returns stays valid until Release, and can be replied
// to.
func TestPacketConnReceive(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp", ":0")
		c := dialPacket(t, client, "udp4", host+":"+portOf(s))
		const all = 200
		ms := make([]udp.Message, all)
		for i := range ms {
			ms[i].Data = []byte{byte(i), 1, 2}
		}
		n, err := c.SendBatch(ms)
		require.NoError(t, err)
		require.Equal(t, all, n)
		var ds []udp.Datagram
		some := make([]udp.Datagram, 30)
		for len(ds) < all {
			n, err := s.Receive(some)
			require.NoError(t, err)
			ds = append(ds, some[:n]...)
		}
		for i, d := range ds {
			require.Equal(t, []byte{byte(i), 1, 2}, d.Data)
			require.Equal(t, c.LocalAddr().String(), d.From.String())
			require.Equal(t, host+":"+portOf(s), d.To().String())
			require.NoError(t, d.Reply(d.Data))
			d.Release()
			require.Panics(t, d.Release)
		}
		b := make([]byte, 10)
		for i := range all {
			n, err := c.Read(b)
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i), 1, 2}, b[:n])
		}
		require.EqualValues(t, all, s.Stats().Handled)
		requireAgreement(t, s)
	})
}

// What was received and not read is counted when the conn is closed.
func TestPacketConnCountsWhatNobodyReads(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp", ":0")
		c := dialPacket(t, client, "udp4", host+":"+portOf(s))
		for range 50 {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
		}
		if client.Network != nil {
			synctest.Wait()
			time.Sleep(time.Second)
		}
		for range 10 {
			_, _, err := s.ReadFrom(make([]byte, 1))
			require.NoError(t, err)
		}
		require.NoError(t, s.Close())
		st := s.Stats()
		require.EqualValues(t, 50, st.Received)
		require.EqualValues(t, 10, st.Handled)
		require.EqualValues(t, 40, st.Dropped.Closed)
	})
}

// A deadline that has passed wins over datagrams that were read already, which stay.
func TestPacketConnPastDeadlineWinsOverWhatWasRead(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp", ":0")
		c := dialPacket(t, client, "udp4", host+":"+portOf(s))
		_, err := c.SendBatch(make([]udp.Message, 10))
		require.NoError(t, err)
		if client.Network != nil {
			time.Sleep(time.Second)
		}
		for range 10 {
			require.NoError(t, s.SetReadDeadline(time.Now().Add(-time.Second)))
			_, _, err = s.ReadFrom(nil)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Hour)))
			_, _, err = s.ReadFrom(nil)
			require.NoError(t, err)
		}
		requireAgreement(t, s)
	})
}

// WriteBatch stops where a datagram can't be sent, and says why when it is the first.
func TestPacketConnWriteBatchStops(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp4", ":0")
		c := dialPacket(t, client, "udp4", host+":"+portOf(s))
		ms := []ipv4.Message{
			{Buffers: [][]byte{[]byte("a")}}, {Buffers: [][]byte{make([]byte, 70000)}}, {Buffers: [][]byte{[]byte("b")}},
		}
		n, err := c.WriteBatch(ms, 0)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, err = c.WriteBatch(ms[1:], 0)
		require.ErrorIs(t, err, syscall.EMSGSIZE)
		require.ErrorIs(t, err, udp.ErrTooLarge)
		require.Zero(t, n)
		n, err = c.WriteBatch(ms[2:], 0)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.EqualValues(t, 2, c.Stats().Sent)
		b := make([]byte, 10)
		for _, want := range []string{"a", "b"} {
			n, _, err := s.ReadFrom(b)
			require.NoError(t, err)
			require.Equal(t, want, string(b[:n]))
		}
	})
}

// A host that has lost the address that was asked replies from another one.
func TestPacketConnForgetsAnAddressThatWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1/24", "10.0.0.3/24"), n.Host("b", "10.0.0.2/24")
		s := listenPacket(t, udp.Config{Network: a.Network()}, "udp", ":0")
		c := listenPacket(t, udp.Config{Network: b.Network()}, "udp", ":0")
		_, err := c.WriteTo(nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.3:"+portOf(s))))
		require.NoError(t, err)
		_, peer, err := s.ReadFrom(nil)
		require.NoError(t, err)
		replies := func(want string) {
			_, err := s.WriteTo(nil, peer)
			require.NoError(t, err)
			_, from, err := c.ReadFrom(nil)
			require.NoError(t, err)
			require.Equal(t, want+":"+portOf(s), from.String())
		}
		replies("10.0.0.3")
		a.Interface("eth0").RemoveAddr("10.0.0.3/24")
		replies("10.0.0.1")
		replies("10.0.0.1")
	})
}

// Programs that know package net only get their sockets from a host.
func TestHostForProgramsOfPackageNet(t *testing.T) {
	// Package net makes a channel of its own at the first look-up, which must not belong
	// to the bubble.
	none := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.ErrUnsupported
	}}
	_, err := none.LookupTXT(t.Context(), "host.invalid.")
	require.Error(t, err)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1/24"), n.Host("b", "10.0.0.2/24")
		server, err := a.ListenPacket(t.Context(), "udp", ":53")
		require.NoError(t, err)
		defer server.Close()
		go func() {
			query := make([]byte, 512)
			for {
				n, from, err := server.ReadFrom(query)
				if err != nil {
					return
				}
				query[2] |= 0x80                               // a response
				query[3] = query[3]&0xf0 | 3                   // NXDOMAIN
				copy(query[6:12], []byte{0, 0, 0, 0, 0, 0})    // of nothing but the question
				end := 12 + len("\x04host\x07invalid\x00") + 4 // which comes first
				_, _ = server.WriteTo(query[:min(n, end)], from)
			}
		}()
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return b.DialContext(ctx, network, "10.0.0.1:53")
		}}
		_, err = r.LookupTXT(t.Context(), "host.invalid.")
		var dns *net.DNSError
		require.ErrorAs(t, err, &dns)
		require.True(t, dns.IsNotFound, err)
		_, err = b.ListenPacket(t.Context(), "tcp", ":53")
		require.ErrorIs(t, err, net.UnknownNetworkError("tcp"))
		_, err = b.DialContext(t.Context(), "tcp", "10.0.0.1:53")
		require.ErrorIs(t, err, net.UnknownNetworkError("tcp"))
	})
}

// A connected conn is refused once for each datagram, as package net's are.
func TestPacketConnRefused(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp4", host+":0")
		require.NoError(t, s.Close())
		c := dialPacket(t, client, "udp4", s.LocalAddr().String())
		for i := range 3 {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(sockettest.Patience)))
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			require.EqualValues(t, i+1, c.Stats().Refused)
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// With PeerErrors an unconnected conn reads Refusals, and goes on.
func TestPacketConnReadsRefusals(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		client.PeerErrors = true
		c, err := client.ListenPacket(t.Context(), "udp4", ":0")
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		require.NoError(t, err)
		defer c.Close()
		dead := listenPacket(t, server, "udp4", host+":0")
		require.NoError(t, dead.Close())
		s := listenPacket(t, server, "udp4", host+":0")
		for i := range 3 {
			_, err := c.WriteTo([]byte("lost"), dead.LocalAddr())
			require.NoError(t, err)
			_, err = c.WriteTo([]byte("x"), s.LocalAddr())
			require.NoError(t, err)
			_, _, err = c.ReadFrom(make([]byte, 1))
			var r *udp.Refusal
			require.ErrorAs(t, err, &r)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			require.Equal(t, dead.LocalAddr().String(), r.Peer.String())
			require.Equal(t, "lost", string(r.Payload))
			require.EqualValues(t, i+1, c.Stats().Refused)

			_, from, err := s.ReadFrom(make([]byte, 1))
			require.NoError(t, err)
			_, err = s.WriteTo([]byte("y"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(hostOf(client, host)+":"+portOf(c))))
			require.NoError(t, err, from)
			_, _, err = c.ReadFrom(make([]byte, 1))
			require.NoError(t, err)
		}
	})
}

func hostOf(client udp.Config, host string) string {
	if client.Network != nil {
		return "10.0.0.2"
	}
	return host
}

// On a simulated network there is no descriptor, but the raw connection can be asked
// for options.
func TestPacketConnRawOnASimulatedNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		c := listenPacket(t, udp.Config{Network: n.Host("a", "10.0.0.1/24").Network()}, "udp", ":0")
		rc, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(uintptr) { t.Error("called") }))
		require.ErrorIs(t, rc.Read(nil), errors.ErrUnsupported)
		require.ErrorIs(t, rc.Write(nil), errors.ErrUnsupported)
		_, err = c.File()
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NoError(t, c.SetReadBuffer(1<<20))
		require.NoError(t, c.SetWriteBuffer(1<<20))
		require.Equal(t, 1<<20, c.Info().ReadBuffer)
		require.NoError(t, c.Close())
		require.ErrorIs(t, rc.Control(nil), net.ErrClosed)
	})
}

// A PacketConn that was not made by this package says so.
func TestPacketConnOfAUser(t *testing.T) {
	for _, c := range []*udp.PacketConn{nil, {}} {
		_, err := c.Read(nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		_, _, err = c.ReadFrom(nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = c.Write(nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = c.WriteTo(nil, nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = c.Receive(nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorIs(t, c.Close(), syscall.EINVAL)
		require.ErrorIs(t, c.SetDeadline(time.Time{}), syscall.EINVAL)
		_, err = c.SendBatch(make([]udp.Message, 1))
		require.ErrorIs(t, err, syscall.EINVAL)
		require.Nil(t, c.LocalAddr())
		require.Nil(t, c.RemoteAddr())
		require.Zero(t, c.Stats())
		require.Zero(t, c.Info())
		require.Equal(t, new(udp.Conn).String(), c.String())
	}
	for _, q := range []*udp.Queue{nil, {}} {
		_, err := q.Receive(t.Context())
		require.ErrorIs(t, err, os.ErrInvalid)
		for _, c := range []*udp.Conn{nil, {}} {
			p := q.PacketConn(c)
			_, _, err = p.ReadFrom(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrInvalid)
			_, err = p.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
			require.Error(t, err)
			require.NoError(t, p.Close())
		}
	}
}

// The net.PacketConn of a Queue reads what a Handler passes on.
func TestQueuePacketConn(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		q := udp.NewQueue(100, udp.DropNewest)
		own := make(chan string, 10)
		s, err := server.Listen(t.Context(), "udp", ":0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			if d.Data[0] < 4 { // STUN: RFC 7983
				own <- string(d.Data)
				return
			}
			q.Received(c, d)
		}))
		require.NoError(t, err)
		defer s.Close()
		p := q.PacketConn(s)
		c := dialPacket(t, client, "udp4", host+":"+portOf(p))
		b := make([]byte, 10)
		for range 3 {
			_, err = c.Write([]byte("\x01stun"))
			require.NoError(t, err)
			_, err = c.Write([]byte("quic"))
			require.NoError(t, err)
			n, from, err := p.ReadFrom(b)
			require.NoError(t, err)
			require.Equal(t, "quic", string(b[:n]))
			require.Len(t, from.(*net.UDPAddr).IP, 16)
			require.Equal(t, "\x01stun", <-own)
			_, err = p.WriteTo([]byte("reply"), from)
			require.NoError(t, err)
			n, err = c.Read(b)
			require.NoError(t, err)
			require.Equal(t, "reply", string(b[:n]))
		}
		require.NoError(t, p.SetReadDeadline(time.Now().Add(-time.Second)))
		_, _, err = p.ReadFrom(b)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, p.SetReadDeadline(time.Now().Add(time.Hour)))
		errs := make(chan error)
		go func() {
			_, _, err := p.ReadFrom(b)
			errs <- err
		}()
		require.NoError(t, p.SetDeadline(time.Now().Add(time.Millisecond)))
		require.ErrorIs(t, <-errs, os.ErrDeadlineExceeded)
		_, err = p.WriteTo(b, c.LocalAddr())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, p.SetDeadline(time.Time{}))
		go func() {
			_, _, err := p.ReadFrom(b)
			errs <- err
		}()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-errs, net.ErrClosed)
		require.ErrorIs(t, p.Close(), net.ErrClosed)
		_, err = p.WriteTo(b, c.LocalAddr())
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, s.SendTo([]byte("still open"), netip.MustParseAddrPort(hostOf(client, host)+":"+portOf(c))))
		s.Close()
		<-s.Done()
	})
}
