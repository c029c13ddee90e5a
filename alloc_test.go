//go:build !race

package udp_test

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Sending, receiving and dispatching allocate nothing: not a single time in
// bursts of 64, counted over the whole process.
func TestNothingIsAllocated(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("package net allocates for a read that waits")
	}
	scenes := []struct{ name, network, address, target string }{
		{"IPv4", "udp4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "udp6", "[::1]:0", "::1"},
		{"IPv4 to a dual-stack socket", "udp", ":0", "127.0.0.1"},
		{"IPv6 to a dual-stack socket", "udp", ":0", "::1"},
	}
	have := sockettest.Networks(t)
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			if s.network != "udp4" && len(have) < 2 {
				t.Skip("no IPv6 here")
			}
			allocateNothing(t, s.network, s.address, netip.MustParseAddr(s.target))
		})
	}
}

func TestNothingIsAllocatedWithZones(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		netns.Veth(t, ns, "left", ns, "right")
		ns.Addr("left", "fe80::1/64")
		allocateNothing(t, "udp6", "[fe80::1%left]:0", netip.MustParseAddr("fe80::1%left"))
	})
}

// Peers on several links cost no more than one: an interface's name is looked up
// once, not each time that the link changes.
func TestNothingIsAllocatedWithSeveralZones(t *testing.T) {
	netns.Isolated(t, func() {
		ns := netns.Self(t)
		netns.Veth(t, ns, "left", ns, "right")
		ns.Addr("left", "fe80::1/64")
		ns.Addr("right", "fe80::2/64")
		g := newGauge()
		server, err := udp.Listen(t.Context(), "udp6", "[::]:0", g)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, server)
		c, err := udp.Listen(t.Context(), "udp6", "[::]:0", udp.BaseHandler{})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		payload, port := make([]byte, 100), server.LocalAddrPort().Port()
		peers := [2]netip.AddrPort{
			netip.AddrPortFrom(netip.MustParseAddr("fe80::1%left"), port),
			netip.AddrPortFrom(netip.MustParseAddr("fe80::2%right"), port),
		}
		noAllocs(t, g.full, func() error {
			for i := range burst {
				if err := c.SendTo(payload, peers[i%2]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// allocateNothing runs each way to send and to receive between two sockets.
func allocateNothing(t *testing.T, network, address string, target netip.Addr) {
	open := func(t *testing.T, h udp.Handler) (*udp.Conn, netip.AddrPort) {
		c, err := udp.Listen(t.Context(), network, address, h)
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		return c, netip.AddrPortFrom(target, c.LocalAddrPort().Port())
	}
	payload := make([]byte, 100)
	each := func(send func() error) func() error {
		return func() error {
			for range burst {
				if err := send(); err != nil {
					return err
				}
			}
			return nil
		}
	}

	t.Run("SendTo to a Handler", func(t *testing.T) {
		g := newGauge()
		_, to := open(t, g)
		c, _ := open(t, udp.BaseHandler{})
		noAllocs(t, g.full, each(func() error { return c.SendTo(payload, to) }))
	})
	t.Run("SendTo to a Handler that waits for each", func(t *testing.T) {
		got := make(chan struct{}, 1)
		full := make(chan struct{}, 1)
		_, to := open(t, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { got <- struct{}{} }))
		c, _ := open(t, udp.BaseHandler{})
		one := each(func() error {
			err := c.SendTo(payload, to)
			<-got
			return err
		})
		noAllocs(t, full, func() error {
			defer func() { full <- struct{}{} }()
			return one()
		})
	})
	t.Run("SendTo to a Handler that drops", func(t *testing.T) { // Config.Trace is nil
		g := newGauge()
		_, to := open(t, &sockettest.Funcs{OnReceived: func(c *udp.Conn, d udp.Datagram) {
			d.Drop()
			g.Received(c, d)
		}})
		c, _ := open(t, udp.BaseHandler{})
		noAllocs(t, g.full, each(func() error { return c.SendTo(payload, to) }))
	})
	t.Run("Send to a Handler", func(t *testing.T) {
		g := newGauge()
		_, to := open(t, g)
		c := sockettest.Dial(t, to, udp.BaseHandler{})
		noAllocs(t, g.full, each(func() error { return c.Send(payload) }))
	})
	t.Run("SendBatch to a Handler", func(t *testing.T) {
		g := newGauge()
		_, to := open(t, g)
		c, _ := open(t, udp.BaseHandler{})
		ms := make([]udp.Message, burst)
		for i := range ms {
			ms[i] = udp.Message{Data: payload, To: to}
		}
		noAllocs(t, g.full, func() error {
			_, err := c.SendBatch(ms)
			return err
		})
	})
	t.Run("Reply to a Handler", func(t *testing.T) {
		_, to := open(t, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if err := d.Reply(d.Data); err != nil {
				t.Error(err)
			}
		}))
		g := newGauge()
		c, _ := open(t, g)
		noAllocs(t, g.full, each(func() error { return c.SendTo(payload, to) }))
	})
	t.Run("Enqueue to a Handler", func(t *testing.T) {
		g := newGauge()
		_, to := open(t, g)
		c, _ := open(t, udp.BaseHandler{})
		noAllocs(t, g.full, func() error {
			for range burst {
				if err := c.Enqueue(udp.Message{Data: payload, To: to}); err != nil {
					return err
				}
			}
			return c.Flush()
		})
	})
	t.Run("Reply from a Queue, with Receive and Release", func(t *testing.T) {
		q := udp.NewQueue(burst, udp.Block)
		_, to := open(t, q)
		ctx := t.Context()
		var consumer sync.WaitGroup
		consumer.Go(func() {
			for {
				d, err := q.Receive(ctx)
				if err != nil {
					return
				}
				if err := d.Reply(d.Data); err != nil {
					t.Error(err)
				}
				d.Release()
			}
		})
		g := newGauge()
		c, _ := open(t, g)
		atMost(t, 1, g.full, each(func() error { return c.SendTo(payload, to) }))
	})
	t.Run("Reply from Workers", func(t *testing.T) {
		_, to := open(t, sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if err := d.Reply(d.Data); err != nil {
				t.Error(err)
			}
		})}))
		g := newGauge()
		c, _ := open(t, g)
		atMost(t, 1, g.full, each(func() error { return c.SendTo(payload, to) }))
	})
	t.Run("SendTo to a Queue, with Release", func(t *testing.T) {
		q := udp.NewQueue(burst, udp.Block)
		_, to := open(t, q)
		c, _ := open(t, udp.BaseHandler{})
		send := each(func() error { return c.SendTo(payload, to) })
		full := make(chan struct{}, 1)
		noAllocs(t, full, func() error {
			if err := send(); err != nil {
				return err
			}
			for range burst {
				d := <-q.Datagrams()
				d.Release()
			}
			full <- struct{}{}
			return nil
		})
	})
}

// noAllocs runs send, each time waiting until what it sent was received.
func noAllocs(t *testing.T, full <-chan struct{}, send func() error) {
	t.Helper()
	atMost(t, 0, full, send)
}

// atMost is noAllocs for a burst that may take some. Where several goroutines take
// part, pools and the memory for 256 packets at a time come to one now and then.
func atMost(t *testing.T, n float64, full <-chan struct{}, send func() error) {
	t.Helper()
	late := time.After(sockettest.Patience)
	run := func() {
		if err := send(); err != nil {
			t.Error(err)
		}
		select {
		case <-full:
		case <-late:
			t.Fatal("not everything was received")
		}
	}
	for range 10 {
		run() // fills the pools
	}
	require.LessOrEqual(t, testing.AllocsPerRun(100, run), n, "allocations in a burst of %d", burst)
}

// The methods with netip.AddrPort do not allocate.
func TestPacketConnAddrPortDoesNotAllocate(t *testing.T) {
	for _, network := range []string{"udp4", "udp"} {
		s := listenPacket(t, udp.Config{}, network, ":0")
		to := netip.MustParseAddrPort("127.0.0.1:" + portOf(s))
		b, oob := make([]byte, 100), make([]byte, 128)
		allocs := testing.AllocsPerRun(1000, func() {
			if _, err := s.WriteToUDPAddrPort(b, to); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.ReadFromUDPAddrPort(b); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.WriteMsgUDPAddrPort(b, nil, to); err != nil {
				t.Fatal(err)
			}
			if _, _, _, _, err := s.ReadMsgUDPAddrPort(b, oob); err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, allocs, network)
	}
}
