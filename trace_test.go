package udp_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// tally counts the events of a Trace.
type tally struct {
	received, receivedBytes, sent, sentBytes, refused, unread atomic.Uint64
	dropped                                                   [6]atomic.Uint64
}

func (y *tally) trace() *udp.Trace {
	return &udp.Trace{
		Received: func(_ *udp.Conn, d udp.Datagram) {
			y.received.Add(1)
			y.receivedBytes.Add(uint64(len(d.Data)))
		},
		Sent: func(_ *udp.Conn, m udp.Message, _ time.Time) {
			y.sent.Add(1)
			y.sentBytes.Add(uint64(len(m.Data)))
		},
		Dropped: func(_ *udp.Conn, d udp.Datagram, why udp.DropReason) {
			y.dropped[why].Add(1)
			if !d.From.IsValid() {
				y.unread.Add(1)
			}
		},
		Refused: func(*udp.Conn, *udp.Refusal) { y.refused.Add(1) },
	}
}

// agrees checks that the sums of the events are the counters of a stopped socket.
func (y *tally) agrees(t testing.TB, s udp.Stats) {
	t.Helper()
	sockettest.CountersAgree(t, s)
	assert.Equal(t, s.Received, y.received.Load()+y.unread.Load(), "received")
	assert.Equal(t, s.ReceivedBytes, y.receivedBytes.Load(), "received bytes")
	assert.Equal(t, s.Sent, y.sent.Load(), "sent")
	assert.Equal(t, s.SentBytes, y.sentBytes.Load(), "sent bytes")
	assert.Equal(t, s.Refused, y.refused.Load(), "refused")
	for why, n := range map[udp.DropReason]uint64{
		udp.DroppedQueue: s.Dropped.Queue, udp.DroppedTruncated: s.Dropped.Truncated, udp.DroppedStranger: s.Dropped.Stranger,
		udp.DroppedHandler: s.Dropped.Handler, udp.DroppedPanicked: s.Dropped.Panicked, udp.DroppedClosed: s.Dropped.Closed,
	} {
		assert.Equal(t, n, y.dropped[why].Load(), why)
	}
}

// worlds are a network each with a server's Config and the address where it listens, and a
// client's.
func worlds(t *testing.T, f func(t *testing.T, server, client udp.Config, address string)) {
	t.Run("kernel", func(t *testing.T) { f(t, udp.Config{}, udp.Config{}, "127.0.0.1:0") })
	t.Run("no offload", func(t *testing.T) {
		cfg := udp.Config{NoOffload: true}
		f(t, cfg, cfg, "127.0.0.1:0")
	})
	t.Run("simulated", func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		f(t, udp.Config{Network: a.Network()}, udp.Config{Network: b.Network()}, "10.0.0.1:0")
	})
}

// fickle handles, rejects and panics, and replies in each way.
func fickle(c *udp.Conn, d udp.Datagram) {
	switch {
	case len(d.Data) == 0, d.Data[0] == 'r':
		_ = d.Reply(d.Data)
	case d.Data[0] == 'e':
		_ = c.Enqueue(udp.Message{Data: d.Data, To: d.From})
	case d.Data[0] == 's':
		_ = c.SendTo(d.Data, d.From)
	case d.Data[0] == 'b':
		_, _ = c.SendBatch([]udp.Message{{Data: d.Data, To: d.From}, {Data: d.Data, To: d.From}})
	case d.Data[0] == 'd':
		d.Drop()
	case d.Data[0] == 'p':
		panic("fickle")
	}
}

// The events are as many as the counters say, whatever reads the socket, whatever sends, and
// however the datagrams end. Some wait when the socket closes.
func TestTraceAgreesWithStats(t *testing.T) {
	spread := func(d udp.Datagram) uint64 { return uint64(len(d.Data)) }
	for name, handler := range map[string]func(*testing.T) udp.Handler{
		"HandlerFunc": func(*testing.T) udp.Handler { return udp.HandlerFunc(fickle) },
		"Handler":     func(*testing.T) udp.Handler { return &sockettest.Funcs{OnReceived: fickle} },
		"DropNewest":  func(*testing.T) udp.Handler { return udp.NewQueue(5, udp.DropNewest) },
		"DropOldest":  func(*testing.T) udp.Handler { return udp.NewQueue(5, udp.DropOldest) },
		"Block":       func(*testing.T) udp.Handler { return udp.NewQueue(5, udp.Block) },
		"Workers": func(t *testing.T) udp.Handler {
			return sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: udp.HandlerFunc(fickle)})
		},
		"Workers with keys": func(t *testing.T) udp.Handler {
			return sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Key: spread, Capacity: 1, Overflow: udp.DropOldest, Handler: udp.HandlerFunc(fickle)})
		},
		"keys that panic": func(t *testing.T) udp.Handler {
			return sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Handler: udp.HandlerFunc(fickle), Key: func(d udp.Datagram) uint64 {
				if len(d.Data)%2 == 0 {
					panic("key")
				}
				return 0
			}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			worlds(t, func(t *testing.T, server, client udp.Config, address string) {
				var served, asked tally
				server.Trace, client.Trace = served.trace(), asked.trace()
				server.Logger, server.MaxDatagram = sockettest.Quiet, 50
				c, err := server.Listen(t.Context(), "udp4", address, handler(t))
				require.NoError(t, err)
				peer, err := client.Dial(t.Context(), "udp4", c.LocalAddrPort().String(), udp.BaseHandler{})
				require.NoError(t, err)
				var ms []udp.Message
				for i := range 10 * len("resbdpx") {
					data := make([]byte, 1+i/5)
					data[0] = "resbdpx"[i%7]
					ms = append(ms, udp.Message{Data: data}, udp.Message{Data: make([]byte, 48+i%5)}, udp.Message{})
				}
				for range 3 {
					_, err := peer.SendBatch(ms)
					require.NoError(t, err)
				}
				enough := uint64(100)
				if name == "Block" {
					enough = 6 // nobody makes room
				}
				require.Eventually(t, func() bool { return c.Stats().Received >= enough }, sockettest.Patience, time.Millisecond)
				sockettest.Stop(t, c)
				sockettest.Stop(t, peer)
				served.agrees(t, c.Stats())
				asked.agrees(t, peer.Stats())
			})
		})
	}
}

func TestTraceOfAPacketConnAgreesWithStats(t *testing.T) {
	worlds(t, func(t *testing.T, server, client udp.Config, address string) {
		var served, asked tally
		server.Trace, client.Trace = served.trace(), asked.trace()
		server.MaxDatagram = 50
		c, err := server.ListenPacket(t.Context(), "udp4", address)
		require.NoError(t, err)
		peer, err := client.DialContext(t.Context(), "udp4", c.LocalAddr().String())
		require.NoError(t, err)
		b := make([]byte, 100)
		for i := range 60 {
			_, err := peer.Write(b[:i])
			require.NoError(t, err)
		}
		for range 30 {
			n, from, err := c.ReadFrom(b)
			require.NoError(t, err)
			_, err = c.WriteTo(b[:n], from)
			require.NoError(t, err)
		}
		require.NoError(t, c.Close())
		require.NoError(t, peer.Close())
		served.agrees(t, c.Stats())
		asked.agrees(t, peer.(*udp.PacketConn).Stats())
		require.EqualValues(t, 30, c.Stats().Sent)
		require.EqualValues(t, 60, peer.(*udp.PacketConn).Stats().Sent)
	})
}

// What the kernel lets in only while a peer changes, or not at all.
func TestTraceOfRareDropsAgreesWithStats(t *testing.T) {
	var y tally
	s := sockettest.NewScripted()
	c := s.Dial(t, udp.Config{Trace: y.trace(), Logger: sockettest.Quiet}, udp.BaseHandler{})
	from := sockettest.Packets("unexpected", "cut")
	from[0].From = sockettest.Here
	from[1].Truncated = true
	s.Inputs <- from
	s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: errors.ErrUnsupported}}
	s.Arrive("good")
	require.Eventually(t, func() bool { return c.Stats().Handled == 1 }, sockettest.Patience, time.Millisecond)
	sockettest.Stop(t, c)
	y.agrees(t, c.Stats())
	require.Equal(t, udp.Drops{Stranger: 1, Truncated: 1}, c.Stats().Dropped)
	require.EqualValues(t, 1, c.Stats().Refused)
}

// Goexit of a callback drops what was read with the datagram, and nothing twice.
func TestTraceOfGoexitAgreesWithStats(t *testing.T) {
	for name, h := range map[string]udp.Handler{
		"Received": udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { runtime.Goexit() }),
		"Key": sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.BaseHandler{}, Key: func(udp.Datagram) uint64 {
			runtime.Goexit()
			return 0
		}}),
	} {
		for _, segment := range []int{0, 3} {
			t.Run(name, func(t *testing.T) {
				var y tally
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{Trace: y.trace(), Logger: sockettest.Quiet}, h)
				ps := sockettest.Packets("aaabbbc", "d")
				ps[0].Segment = segment
				s.Inputs <- ps
				sockettest.Next(t, c.Done())
				y.agrees(t, c.Stats())
				require.EqualValues(t, 1, c.Stats().Dropped.Panicked)
			})
		}
	}
	t.Run("the last of a packet", func(t *testing.T) {
		s, n := sockettest.NewScripted(), 0
		c := s.Listen(t, udp.Config{Logger: sockettest.Quiet}, sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.BaseHandler{},
			Key: func(udp.Datagram) uint64 {
				if n++; n == 2 {
					runtime.Goexit()
				}
				return 0
			}}))
		b := buffer.Get()
		s.Inputs <- []socket.Packet{{Data: b.B[:copy(b.B, "ab")], Buf: b, Segment: 1, From: sockettest.There}}
		sockettest.Next(t, c.Done())
		sockettest.CountersAgree(t, c.Stats())
	})
}

// seen is an event of a Trace.
type seen struct{ what, data, detail string }

// watch returns a Trace that writes its events to a channel.
func watch() (*udp.Trace, <-chan seen) {
	events := make(chan seen, 1000)
	return &udp.Trace{
		Received: func(_ *udp.Conn, d udp.Datagram) { events <- seen{"received", string(d.Data), d.From.String()} },
		Sent:     func(_ *udp.Conn, m udp.Message, _ time.Time) { events <- seen{"sent", string(m.Data), m.To.String()} },
		Dropped: func(_ *udp.Conn, d udp.Datagram, why udp.DropReason) {
			events <- seen{"dropped", string(d.Data), why.String()}
		},
		Refused: func(_ *udp.Conn, r *udp.Refusal) { events <- seen{"refused", string(r.Payload), r.Peer.String()} },
		Membership: func(_ *udp.Conn, m udp.Membership) {
			detail := ""
			for _, on := range m.On {
				detail += fmt.Sprint(on.Name, " ", on.Err == nil)
			}
			events <- seen{"membership", m.Group.String(), detail}
		},
		Rebind: func(*udp.Conn) { events <- seen{"rebind", "", ""} },
	}, events
}

// Datagrams come with their payload and addresses, one by one also when they were sent or read
// as segments, and the one that panicked is the one that is reported.
func TestTraceHasTheDatagrams(t *testing.T) {
	trace, events := watch()
	var got sync.WaitGroup
	got.Add(3)
	server := sockettest.Listen(t, udp.Config{Trace: trace, Logger: sockettest.Quiet}, "udp4", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		defer got.Done()
		if string(d.Data) == "22" {
			panic("22")
		}
	}))
	to := server.LocalAddrPort()
	c := sockettest.Dial(t, to, udp.BaseHandler{})
	_, err := c.SendBatch([]udp.Message{{Data: []byte("11")}, {Data: []byte("22")}, {Data: []byte("3")}})
	require.NoError(t, err)
	got.Wait()
	sockettest.Stop(t, server)
	from, all := c.LocalAddrPort().String(), map[seen]int{}
	for range 4 {
		all[sockettest.Next(t, events)]++
	}
	require.Equal(t, map[seen]int{{"received", "11", from}: 1, {"received", "22", from}: 1, {"received", "3", from}: 1,
		{"dropped", "22", "panicked"}: 1}, all)
}

func TestTraceHasTheRefusals(t *testing.T) {
	trace, events := watch()
	cfg := udp.Config{Trace: trace}
	c, err := cfg.Dial(t.Context(), "udp4", sockettest.DeadPort(t, "udp4").String(), udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	require.NoError(t, c.Send([]byte("anybody?")))
	dead := c.RemoteAddrPort().String()
	two := []seen{sockettest.Next(t, events), sockettest.Next(t, events)} // the ICMP error may be known before Send has returned
	require.Contains(t, two, seen{"sent", "anybody?", dead}, "the peer of a connected socket")
	require.Contains(t, []string{two[0].what, two[1].what}, "refused")
	require.Equal(t, two[0].detail, two[1].detail)
}

func TestTraceOfMemberships(t *testing.T) {
	n := udptest.NewNet(t, udptest.Config{})
	host := n.Host("a", "10.0.0.1")
	trace, events := watch()
	group := netip.MustParseAddr("239.1.2.3")
	m, err := udp.Config{Network: host.Network(), Trace: trace}.ListenMulticast(t.Context(), "udp4", ":7", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, m)
	require.NoError(t, m.Join(group, &net.Interface{Name: "eth0"}))
	require.Equal(t, seen{"membership", "239.1.2.3", "eth0 true"}, sockettest.Next(t, events))
	host.Interface("eth0").SetDown(true)
	require.Equal(t, seen{"membership", "239.1.2.3", "eth0 false"}, sockettest.Next(t, events))
	host.Interface("eth0").SetDown(false)
	require.Equal(t, seen{"membership", "239.1.2.3", "eth0 true"}, sockettest.Next(t, events))
	require.NoError(t, m.Leave(group))
	require.Equal(t, seen{"membership", "239.1.2.3", ""}, sockettest.Next(t, events))
}

// A Trace cannot disturb the accounting: its panics are counted, and its Datagrams belong to no
// socket.
func TestTraceIsHarmless(t *testing.T) {
	replies := make(chan error, 1)
	kept := make(chan udp.Datagram, 1)
	q := udp.NewQueue(1, udp.Block)
	c := sockettest.Listen(t, udp.Config{Logger: sockettest.Quiet, Trace: &udp.Trace{Received: func(_ *udp.Conn, d udp.Datagram) {
		d.Drop()
		d.Retain()
		kept <- d.Clone()
		replies <- d.Reply(nil)
		panic("trace")
	}}}, "udp4", q)
	require.NoError(t, c.SendTo([]byte("1"), c.LocalAddrPort()))
	require.Error(t, sockettest.Next(t, replies))
	(<-q.Datagrams()).Release()
	d := sockettest.Next(t, kept)
	require.Equal(t, "1", string(d.Data))
	require.Equal(t, c.LocalAddrPort(), d.From)
	require.Nil(t, d.Conn())
	require.Eventually(t, func() bool { s := c.Stats(); return s.Panics == 1 && s.Handled == 1 }, sockettest.Patience, time.Millisecond)
}

// A joined Trace calls all functions of a kind, in order, and has none that nobody wants.
func TestJoinTraces(t *testing.T) {
	require.Nil(t, udp.JoinTraces())
	require.Nil(t, udp.JoinTraces(nil, nil))
	only := new(udp.Trace)
	require.Same(t, only, udp.JoinTraces(nil, only, nil))
	require.Equal(t, udp.Trace{}, *udp.JoinTraces(only, only))

	full := reflect.TypeFor[udp.Trace]()
	var order []string
	trace := func(name string, wants func(i int) bool) *udp.Trace {
		tr := new(udp.Trace)
		for i := range full.NumField() {
			if wants(i) {
				reflect.ValueOf(tr).Elem().Field(i).Set(reflect.MakeFunc(full.Field(i).Type, func([]reflect.Value) []reflect.Value {
					order = append(order, name)
					return nil
				}))
			}
		}
		return tr
	}
	every := func(int) bool { return true }
	for i := range full.NumField() {
		this := func(j int) bool { return i == j }
		joined := reflect.ValueOf(udp.JoinTraces(trace("a", this), trace("b", every), trace("c", this))).Elem().Field(i)
		args := make([]reflect.Value, joined.Type().NumIn())
		for k := range args {
			args[k] = reflect.Zero(joined.Type().In(k))
		}
		order = nil
		joined.Call(args)
		require.Equal(t, []string{"a", "b", "c"}, order, full.Field(i).Name)
	}
}

func TestDropReasonsHaveNames(t *testing.T) {
	for name := range (udp.Stats{}).All() {
		for r := udp.DroppedQueue; r <= udp.DroppedClosed; r++ {
			if name == "dropped_"+r.String() {
				name = ""
			}
		}
		require.NotContains(t, name, "dropped_")
	}
	require.Equal(t, "DropReason(-1)", udp.DropReason(-1).String())
	require.Equal(t, "DropReason(6)", (udp.DroppedClosed + 1).String())
}

// BenchmarkTrace shows what a Trace costs. Without one the code is that of a socket before there
// were any: compare "none" with "none again" for the noise of the machine.
func BenchmarkTrace(b *testing.B) {
	for _, t := range []struct {
		name  string
		trace *udp.Trace
	}{{"none", nil}, {"empty", &udp.Trace{}}, {"counting", new(tally).trace()}, {"none again", nil}} {
		b.Run(t.name, func(b *testing.B) {
			g := newGauge()
			cfg := udp.Config{Trace: t.trace}
			server := sockettest.Listen(b, cfg, "udp4", g)
			c := sockettest.Listen(b, cfg, "udp4", udp.BaseHandler{})
			ms := make([]udp.Message, burst)
			for i := range ms {
				ms[i] = udp.Message{Data: make([]byte, 100), To: server.LocalAddrPort()}
			}
			rounds(b, 100, func() error {
				_, err := c.SendBatch(ms)
				return err
			}, g.full)
		})
	}
}
