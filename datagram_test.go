package udp_test

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/sockettest"
)

// The largest payloads, see RFC 768, RFC 791 and RFC 8200.
const (
	largestIPv4 = 65507
	largestIPv6 = 65527
)

// Everything that UDP can carry arrives whole, alone and in batches.
//
// Twisted: P5 UDPPortTestsMixin.test_writeToIPv6Interface
func TestEveryLengthArrivesWhole(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		largest := largestIPv4
		if network == "udp6" {
			largest = largestIPv6
		}
		lengths := []int{0, 1, 0, 0, 100, 1472, 1473, 9000, largest - 1, largest, 0}
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in a batch: %v", network, batch), func(t *testing.T) {
				h := sockettest.NewRecorder()
				c := sockettest.Listen(t, udp.Config{ReadBuffer: 1 << 20}, network, h)
				h.Next(t, "Started")
				var ms []udp.Message
				bytesSent := 0
				for i, n := range lengths {
					ms = append(ms, udp.Message{Data: bytes.Repeat([]byte{byte(i)}, n), To: c.LocalAddrPort()})
					bytesSent += n
				}
				if batch {
					n, err := c.SendBatch(ms)
					require.NoError(t, err)
					require.Equal(t, len(ms), n)
				}
				for i, m := range ms {
					if !batch { // one at a time: this machine's buffers hold a few
						require.NoError(t, c.SendTo(m.Data, m.To))
					}
					e := h.Next(t, "Received")
					require.True(t, e.Data == string(m.Data), "datagram %d of %d bytes is another one, of %d bytes", i, len(m.Data), len(e.Data))
					require.Equal(t, c.LocalAddrPort(), e.Datagram.From)
				}
				s := c.Stats()
				require.EqualValues(t, len(ms), s.Sent)
				require.EqualValues(t, bytesSent, s.SentBytes)
				sockettest.Stop(t, c)
				s = c.Stats()
				require.EqualValues(t, len(ms), s.Handled)
				require.EqualValues(t, bytesSent, s.ReceivedBytes)
			})
		}
	}
}

// A datagram over Config.MaxDatagram is dropped whole and counted.
//
// Twisted: R2
func TestMaxDatagram(t *testing.T) {
	for _, test := range []struct {
		name  string
		max   int
		sent  []int
		taken []int
	}{
		{"the default takes the largest", 0, []int{largestIPv4}, []int{largestIPv4}},
		{"more than there is takes the largest", math.MaxInt, []int{largestIPv4}, []int{largestIPv4}},
		{"at the limit is taken and over it is not", 100, []int{100, 101, 0, 65507, 99}, []int{100, 0, 99}},
		{"one byte", 1, []int{0, 1, 2, 1}, []int{0, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := sockettest.NewRecorder()
			c := sockettest.Listen(t, udp.Config{MaxDatagram: test.max, ReadBuffer: 1 << 20}, "udp4", h)
			h.Next(t, "Started")
			for _, n := range test.sent {
				require.NoError(t, c.SendTo(make([]byte, n), c.LocalAddrPort()))
			}
			for _, n := range test.taken {
				require.Len(t, h.Next(t, "Received").Data, n)
			}
			sockettest.Stop(t, c)
			require.EqualValues(t, len(test.sent)-len(test.taken), c.Stats().Dropped.Truncated)
			require.EqualValues(t, len(test.taken), c.Stats().Handled)
		})
	}
}

// Data belongs to the reader again when Received returns: builds with -race
// overwrite it then. Retain and Clone keep it.
func TestOwnershipOfData(t *testing.T) {
	const n = 50
	var plain, retained, cloned []udp.Datagram
	all := make(chan struct{})
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		d.Retain()
		d.Retain()
		d.Release() // still one
		plain, retained, cloned = append(plain, d), append(retained, d), append(cloned, d.Clone())
		if len(plain) == n {
			close(all)
		}
	}))
	for i := range n {
		require.NoError(t, c.SendTo([]byte{byte(i)}, c.LocalAddrPort()))
	}
	sockettest.Next(t, all)
	sockettest.Stop(t, c)
	for i := range n {
		require.Equal(t, []byte{byte(i)}, retained[i].Data)
		require.Equal(t, []byte{byte(i)}, cloned[i].Data)
		require.Equal(t, plain[i].From, cloned[i].From)
		require.Same(t, c, cloned[i].Conn())
	}
	for i := range n {
		retained[i].Release()
		cloned[i].Release() // nothing
		cloned[i].Retain()  // nothing
	}
	for i := range n {
		require.Equal(t, []byte{byte(i)}, cloned[i].Data, "after its origin was released")
		if poisoned {
			require.Equal(t, []byte{0xDB}, plain[i].Data, "released buffers are overwritten")
		}
	}
	require.Empty(t, udp.Datagram{}.Clone().Data)
	require.NotNil(t, udp.Datagram{}.Clone().Data)
}

// poisoned reports whether this build overwrites released buffers, as those with
// -race do.
var poisoned = func() bool {
	b := buffer.Get()
	b.B[0] = 1
	b.Retain(1)
	b.Release(2)
	return b.B[0] == 0xDB
}()

// No buffer stays in use for datagrams that were not retained, and a Release too many
// panics at once.
func TestRelease(t *testing.T) {
	h := sockettest.NewRecorder()
	before := buffer.Live()
	kept := make(chan udp.Datagram, 1)
	h.OnReceived = func(_ *udp.Conn, d udp.Datagram) {
		if string(d.Data) == "keep" {
			d.Retain()
			kept <- d
		}
	}
	c := sockettest.Listen(t, udp.Config{}, "udp4", h)
	h.Next(t, "Started")
	for _, data := range []string{"a", "b", "keep", "c"} {
		require.NoError(t, c.SendTo([]byte(data), c.LocalAddrPort()))
		h.Next(t, "Received") // one buffer each
	}
	sockettest.Stop(t, c)
	if !thorough { // buffers are counted with the race detector only
		require.Equal(t, before+1, buffer.Live())
	}
	d := <-kept
	d.Release()
	require.Equal(t, before, buffer.Live())
	require.Panics(t, d.Release)
}

// Senders and destinations are of one form: IPv4 never as 4-in-6.
//
// Twisted: W3 UDPTests.test_sendPackets
func TestAddressesAreNeverFourInSix(t *testing.T) {
	hosts := []string{"127.0.0.1", "::ffff:127.0.0.1"}
	if len(sockettest.Networks(t)) > 1 {
		hosts = append(hosts, "::1")
	}
	for _, host := range hosts {
		h := sockettest.NewRecorder()
		c, err := udp.Listen(t.Context(), "udp", ":0", h)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		h.Next(t, "Started")
		to := netip.AddrPortFrom(netip.MustParseAddr(host), c.LocalAddrPort().Port())
		require.NoError(t, c.SendTo([]byte(host), to))
		d := h.Next(t, "Received").Datagram
		require.Equal(t, to.Addr().Unmap(), d.From.Addr())
		require.False(t, d.From.Addr().Is4In6())
		if c.Info().PacketInfo {
			require.Equal(t, to.Addr().Unmap(), d.To().Addr())
			require.NotZero(t, d.IfIndex())
		}
		connected, err := c.Connect(to)
		require.NoError(t, err)
		require.False(t, connected.RemoteAddrPort().Addr().Is4In6())
		require.False(t, connected.LocalAddrPort().Addr().Is4In6())
		require.NoError(t, connected.Send([]byte(host)))
		require.NoError(t, connected.SendTo([]byte(host), to), "its peer in whatever form")
		// Its own peer only when the address that it leaves from is the peer's.
		require.Equal(t, to.Addr().Unmap(), connected.LocalAddrPort().Addr())
		h.Next(t, "Received")
		h.Next(t, "Received")
	}
}

// With Config.Timestamps a datagram carries the kernel's time.
func TestTimestamps(t *testing.T) {
	h := sockettest.NewRecorder()
	c := sockettest.Listen(t, udp.Config{Timestamps: true}, "udp4", h)
	if !c.Info().Timestamps {
		t.Skip("no timestamps here")
	}
	plain := sockettest.NewRecorder()
	without := sockettest.Listen(t, udp.Config{}, "udp4", plain)
	h.Next(t, "Started")
	plain.Next(t, "Started")
	for range 2 {
		require.NoError(t, c.SendTo(nil, c.LocalAddrPort()))
		require.NoError(t, c.SendTo(nil, without.LocalAddrPort()))
	}
	first, second := h.Next(t, "Received").Datagram.Time(), h.Next(t, "Received").Datagram.Time()
	require.False(t, first.IsZero())
	require.False(t, second.Before(first))
	require.Zero(t, plain.Next(t, "Received").Datagram.Time())
}

// The two bits of ECN travel where Info says so.
func TestECN(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			h := sockettest.NewRecorder()
			c := sockettest.Listen(t, udp.Config{}, network, h)
			h.Next(t, "Started")
			if !c.Info().ECN {
				t.Skip("no ECN here")
			}
			for _, ecn := range []udp.ECN{udp.NotECT, udp.ECT1, udp.ECT0, udp.CE} {
				n, err := c.SendBatch([]udp.Message{{Data: []byte("x"), To: c.LocalAddrPort(), ECN: ecn}})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.Equal(t, ecn, h.Next(t, "Received").Datagram.ECN())
			}
		})
	}
}

// A Datagram that came by no socket can't be replied to.
func TestReplyWithoutASocket(t *testing.T) {
	d := udp.Datagram{From: netip.MustParseAddrPort("127.0.0.1:9")}
	require.ErrorContains(t, d.Reply(nil), "not received by a socket")
	require.Nil(t, d.Conn())
	d.Retain()
	d.Release()
}

// A Datagram is passed by value and through channels: it has one cache line.
func TestADatagramFitsACacheLine(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(udp.Datagram{}), uintptr(64))
}

// Release panics inside Received without Retain, and when it comes twice; it never
// frees what another datagram, or the next read, lies in.
func TestReleaseWithoutRetainPanics(t *testing.T) {
	before := buffer.Live()
	s := sockettest.NewScripted()
	var kept []udp.Datagram
	c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		switch d.Data[0] {
		case 'k':
			d.Retain()
			kept = append(kept, d)
		case 'r':
			d.Release()
		case 't':
			d.Retain()
			d.Release()
			d.Release()
		}
	}))
	s.Inputs <- sockettest.Coalesced("krkt-", "r", "k")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, udp.Drops{Panicked: 3}, c.Stats().Dropped)
	require.EqualValues(t, 4, c.Stats().Handled)
	require.Len(t, kept, 3)
	for _, d := range kept {
		require.Equal(t, "k", string(d.Data), "its buffer was not freed")
	}
	for _, d := range kept {
		d.Release()
		require.Panics(t, d.Release)
	}
	require.Equal(t, before, buffer.Live())

	// Of a Queue: one Release is the consumer's.
	again, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
	c = again.Listen(t, udp.Config{}, q)
	again.Inputs <- sockettest.Coalesced("ab")
	require.NoError(t, c.Shutdown(t.Context()))
	a, b := <-q.Datagrams(), <-q.Datagrams()
	a.Release()
	require.Panics(t, a.Release)
	require.Equal(t, "b", string(b.Data))
	b.Retain()
	b.Release()
	b.Release()
	require.Panics(t, b.Release)
	require.Equal(t, before, buffer.Live())
}

// Drop counts a datagram that a Handler rejects by that name.
func TestDrop(t *testing.T) {
	for _, workers := range []bool{false, true} {
		h := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if d.Data[0] == 'd' {
				d.Drop()
			}
		})
		var handler udp.Handler = h
		if workers {
			handler = sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Key: lastByte, Handler: h})
		}
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, handler)
		s.Inputs <- sockettest.Coalesced("adda", "d")
		require.NoError(t, c.Shutdown(t.Context()))
		sockettest.CountersAgree(t, c.Stats())
		require.Equal(t, udp.Drops{Handler: 3}, c.Stats().Dropped)
		require.EqualValues(t, 2, c.Stats().Handled)
		require.EqualValues(t, 5, c.Stats().Received)
	}
	udp.Datagram{}.Drop()
}
