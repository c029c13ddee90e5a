package udp_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// flood is how many datagrams the tests of the counters send. .ci/run has no race
// detector on 386 and as an ordinary user, so there it is two million for every
// policy.
func flood(testing.TB) int {
	switch {
	case testing.Short():
		return 20_000
	case !thorough:
		return 60_000
	}
	return 2_000_000
}

// sendAll sends n datagrams to the peer as fast as it can.
func sendAll(t testing.TB, c *udp.ConnectedConn, n int) {
	t.Helper()
	ms := make([]udp.Message, 100)
	for i := range ms {
		ms[i].Data = make([]byte, 1+i/10) // some of one length side by side, for segments
	}
	for n > 0 {
		sent, err := c.SendBatch(ms[:min(n, len(ms))])
		require.NoError(t, err)
		n -= sent
	}
}

// Between two sockets on loopback each datagram is handled or dropped by name,
// however fast they come and however slow the consumer is.
func TestEveryDatagramOfAFloodIsAccountedFor(t *testing.T) {
	for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
		for _, workers := range []bool{false, true} {
			for _, segments := range []bool{false, true} {
				name := overflow.String()
				if workers {
					name += ", Workers"
				}
				if segments {
					name += ", segments"
				}
				t.Run(name, func(t *testing.T) { accountForAFlood(t, overflow, workers, segments) })
			}
		}
	}
}

func accountForAFlood(t *testing.T, overflow udp.Overflow, workers, segments bool) {
	n := flood(t)
	var handled atomic.Uint64
	slow := func() {
		if handled.Add(1)%500 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	q := udp.NewQueue(500, overflow)
	var consumer sync.WaitGroup
	var h udp.Handler = q
	if workers {
		h = sockettest.NewWorkers(t, udp.WorkersConfig{N: 2, Key: func(d udp.Datagram) uint64 { return uint64(len(d.Data)) },
			Overflow: overflow, Handler: udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { slow() })})
	} else {
		consumer.Go(func() {
			for d := range q.Datagrams() {
				slow()
				d.Release()
			}
		})
	}
	c := sockettest.Listen(t, udp.Config{NoOffload: !segments, ReadBuffer: 4 << 20}, "udp4", h)
	sender := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
	longest := uint64(1) // of a segment
	if segments {
		if !c.Info().GRO {
			t.Skip("no segments here")
		}
		longest = uint64(max(1, sender.Info().Segments))
	}
	sendAll(t, sender, n)
	require.NoError(t, c.Shutdown(t.Context()))
	consumer.Wait()
	s := c.Stats()
	t.Logf("%+v", s)
	require.EqualValues(t, n, sender.Stats().Sent)
	require.Equal(t, s.Handled, handled.Load())
	require.Equal(t, s.Received, s.Handled+s.Dropped.Total())
	require.Equal(t, udp.Drops{Queue: s.Dropped.Queue}, s.Dropped)
	if overflow == udp.Block {
		require.Zero(t, s.Dropped.Queue)
	}
	if s.KernelDrops >= 0 {
		// The kernel counts a lost coalesced packet as one.
		lost, drops := uint64(n)-s.Received, uint64(s.KernelDrops)
		require.GreaterOrEqual(t, lost, drops)
		require.LessOrEqual(t, lost, drops*longest)
	}
}

// What is missing after a firewall took some is exactly what it counted.
func TestWhatAFirewallDropsIsAllThatIsMissing(t *testing.T) {
	netns.Run(t, func() {
		n := flood(t) / 10
		ns := netns.New(t)
		var c *udp.Conn
		var sender *udp.ConnectedConn
		var err error
		h, wait := consumers[1].make(t, func(udp.Datagram) {})
		ns.Do(func() { c, err = udp.Config{}.Listen(t.Context(), "udp4", "127.0.0.1:0", h) })
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, c)
		if c.Stats().KernelDrops < 0 {
			t.Skip("the system does not count what it drops")
		}
		ns.Command("nft", "add table inet lossy")
		ns.Command("nft", "add chain inet lossy in { type filter hook input priority 0; }")
		ns.Command("nft", fmt.Sprintf("add rule inet lossy in udp dport %d numgen random mod 10 < 3 counter drop",
			c.LocalAddrPort().Port()))
		ns.Do(func() { sender, err = udp.Dial(t.Context(), "udp4", c.LocalAddrPort().String(), udp.BaseHandler{}) })
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, sender)
		for range n {
			require.NoError(t, sender.Send([]byte("x"))) // no segments: nft would count one as one packet
		}
		require.NoError(t, c.Shutdown(t.Context()))
		wait()
		rules := ns.Command("nft", "list ruleset")
		found := regexp.MustCompile(`counter packets (\d+)`).FindStringSubmatch(rules)
		require.NotNil(t, found, rules)
		dropped, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		require.InDelta(t, 0.3*float64(n), dropped, 0.1*float64(n), "the firewall did take some")
		s := c.Stats()
		require.EqualValues(t, n, s.Received+uint64(s.KernelDrops)+uint64(dropped), "%+v", s)
		require.Equal(t, s.Received, s.Handled)
	})
}

// KernelDrops is asked for, and keeps the last value before the socket closed.
func TestKernelDropsOutliveTheSocket(t *testing.T) {
	s := sockettest.NewScripted()
	c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
	for _, n := range []int64{-1, 0, 5, 1 << 33} {
		s.DropCount.Store(n)
		require.Equal(t, n, c.Stats().KernelDrops)
	}
	s.DropCount.Store(1<<33 + 7)
	sockettest.Stop(t, c)
	s.DropCount.Store(9)
	require.Equal(t, int64(1<<33+7), c.Stats().KernelDrops)
}

func TestStatsSayHowDatagramsCame(t *testing.T) {
	s := sockettest.NewScripted()
	q := udp.NewQueue(10, udp.DropNewest)
	c := s.Listen(t, udp.Config{}, q)
	s.Arrive("1", "22", "")
	s.Arrive("4444")
	for range 4 {
		<-q.Datagrams()
	}
	sockettest.Stop(t, c)
	st := c.Stats()
	require.EqualValues(t, 2, st.Reads)
	require.EqualValues(t, 4, st.Received)
	require.EqualValues(t, 3, st.LargestRead)
	require.EqualValues(t, 7, st.ReceivedBytes)
}

// Stats may be polled at any time, also inside Stopped and after it, and no poll
// shows more handled or dropped than received.
func TestStatsCanBePolledAtAnyTime(t *testing.T) {
	var inStopped udp.Stats
	r := &sockettest.Recorder{Events: make(chan sockettest.Event, 1<<17), OnStopped: func(c *udp.Conn, _ error) { inStopped = c.Stats() }}
	q := udp.NewQueue(10, udp.DropOldest)
	c := sockettest.Listen(t, udp.Config{NoOffload: true}, "udp4", both{q, r})
	quit := make(chan struct{})
	var pollers sync.WaitGroup
	for range 2 {
		pollers.Go(func() {
			last := udp.Stats{KernelDrops: -1} // as where the system does not count them
			for {
				s := c.Stats()
				if s.Received < last.Received || s.Sent < last.Sent || s.KernelDrops < last.KernelDrops {
					t.Errorf("counters went back: %+v, %+v", last, s)
					return
				}
				if s.Handled+s.Dropped.Total() > s.Received {
					t.Errorf("more is done than was received: %+v", s)
					return
				}
				last = s
				select {
				case <-quit:
					return
				default:
				}
			}
		})
	}
	sendAll(t, sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{}), 20_000)
	require.NoError(t, c.Shutdown(t.Context()))
	close(quit)
	pollers.Wait()
	require.Equal(t, inStopped, c.Stats())
	if drops := c.Stats().KernelDrops; drops >= 0 {
		require.EqualValues(t, 20_000, c.Stats().Received+uint64(drops))
	}
}

// What one socket puts into a Queue may push another's datagrams out.
func TestNoPollOfASharedQueueShowsMoreThanReceived(t *testing.T) {
	const n = 20_000
	q := udp.NewQueue(64, udp.DropOldest)
	a, b := sockettest.Listen(t, udp.Config{NoOffload: true}, "udp4", q), sockettest.Listen(t, udp.Config{NoOffload: true}, "udp4", q)
	quit := make(chan struct{})
	var poller sync.WaitGroup
	poller.Go(func() {
		for {
			if s := a.Stats(); s.Handled+s.Dropped.Total() > s.Received {
				t.Errorf("more is done than was received: %+v", s)
				return
			}
			select {
			case <-quit:
				return
			default:
			}
		}
	})
	toA, toB := sockettest.Dial(t, a.LocalAddrPort(), udp.BaseHandler{}), sockettest.Dial(t, b.LocalAddrPort(), udp.BaseHandler{})
	for range n / 100 {
		sendAll(t, toA, 100)
		sendAll(t, toB, 100)
	}
	for _, c := range []*udp.Conn{a, b} {
		require.NoError(t, c.Shutdown(t.Context()))
	}
	close(quit)
	poller.Wait()
}

// both is a Queue of which a recorder hears when it stops.
type both struct {
	*udp.Queue
	r *sockettest.Recorder
}

func (b both) Stopped(c *udp.Conn, err error) {
	b.Queue.Stopped(c, err)
	b.r.Stopped(c, err)
}

// BenchmarkCounting is all that happens between a read and a handler that does
// nothing, the counters included, for reads of different sizes.
func BenchmarkCounting(b *testing.B) {
	for _, perRead := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%d a read", perRead), func(b *testing.B) {
			s := sockettest.NewScripted()
			done := make(chan struct{})
			n := 0
			c := s.Listen(b, udp.Config{}, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
				if n++; n == b.N {
					close(done)
				}
			}))
			buf := buffer.Get()
			defer buf.Release(1)
			data := buf.B[:32*min(perRead, 64)]
			p := make([]socket.Packet, max(1, perRead/64))
			for i := range p {
				p[i] = socket.Packet{Data: data, Buf: buf, Segment: 32, From: netip.AddrPortFrom(sockettest.There.Addr(), 1)}
			}
			s.Forever = p
			b.ReportAllocs()
			b.ResetTimer()
			s.Wake()
			<-done
			b.StopTimer()
			c.Close()
		})
	}
}

func BenchmarkStats(b *testing.B) {
	c := sockettest.Listen(b, udp.Config{}, "udp4", udp.BaseHandler{})
	b.ReportAllocs()
	for b.Loop() {
		c.Stats()
	}
}

// Each poll of Stats is taken once, whatever senders do meanwhile.
func TestSendErrorsAreTheSumOfTheirReasons(t *testing.T) {
	c := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{})
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			default:
				_ = c.SendTo(nil, netip.MustParseAddrPort("[::1]:9")) // ErrFamily
			}
		}
	}()
	rounds := 20_000
	if testing.Short() {
		rounds = 2000 // of system calls, which gVisor takes long for
	}
	for range rounds {
		s := c.Stats()
		f := s.SendFailed
		sum := f.TooLarge + f.Family + f.NoBuffers + f.Unreachable + f.Denied + f.Deadline + f.Closed + f.Other
		if s.SendErrors != sum {
			t.Errorf("%d errors, %+v", s.SendErrors, f)
			break
		}
	}
	close(quit)
	<-ended
}
