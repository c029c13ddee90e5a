package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// The addresses of the cable's right end.
var soaked = map[string]netip.Addr{"udp4": netip.MustParseAddr("192.0.2.2"), "udp6": netip.MustParseAddr("2001:db8::2")}

// listen makes a socket in a namespace.
func (s *soak) listen(ns *netns.NS, cfg udp.Config, network, address string, h udp.Handler) (c *udp.Conn) {
	var err error
	ns.Do(func() { c, err = cfg.Listen(context.Background(), network, address, h) })
	if err != nil {
		s.t.Error(err)
	}
	return c
}

// handle is the work of slow consumers.
func (s *soak) handle(d udp.Datagram) {
	if s.handled.Add(1)%100 == 0 {
		time.Sleep(time.Millisecond)
	}
	d.Reply(d.Data)
}

// share makes the Queue and the Workers that many sockets use. A socket of its own keeps each of
// them alive until end.
func (s *soak) share(ns *netns.NS) (end func()) {
	s.queue = udp.NewQueue(100, udp.DropOldest)
	s.workers = sockettest.NewWorkers(s.t, udp.WorkersConfig{N: 3, Capacity: 20, Overflow: udp.DropNewest, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		s.shared.Add(1)
		s.handle(d)
	})})
	a, b := s.listen(ns, udp.Config{}, "udp4", "127.0.0.1:0", s.queue), s.listen(ns, udp.Config{}, "udp4", "127.0.0.1:0", s.workers)
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for d := range s.queue.Datagrams() {
			s.shared.Add(1)
			s.handle(d)
			d.Release()
		}
	})
	return func() {
		s.over(a)
		s.over(b)
		consumer.Wait()
	}
}

// serve opens and closes servers, each with another kind of slow consumer.
func (s *soak) serve(ns *netns.NS, n int) {
	for round := n; !s.stopped(); round++ {
		var h udp.Handler
		var consumer sync.WaitGroup
		policy := udp.Overflow(round % 3)
		switch round % 7 {
		case 0:
			h = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { s.handle(d) })
		case 1:
			h = sockettest.NewWorkers(s.t, udp.WorkersConfig{N: 3, Capacity: 20, Overflow: policy,
				Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { s.handle(d) })})
		case 2:
			h = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				if s.handle(d); rand.N(20) == 0 {
					panic("soaked")
				}
			})
		case 3:
			h = s.queue
		case 4:
			h = s.workers
		case 5: // passed on to the Queue or Workers of another socket
			h = udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				if rand.N(2) == 0 {
					s.queue.Received(c, d)
				} else {
					s.workers.Received(c, d)
				}
			})
		default:
			q := udp.NewQueue(100, policy)
			consumer.Go(func() {
				for d := range q.Datagrams() {
					s.handle(d)
					d.Release()
				}
			})
			h = q
		}
		c := s.listen(ns, udp.Config{}, s.networks[rand.N(len(s.networks))], ":0", h)
		if c == nil {
			return
		}
		s.mu.Lock()
		s.servers[c] = true
		s.mu.Unlock()
		s.rest(200 * time.Millisecond)
		s.mu.Lock()
		delete(s.servers, c)
		s.mu.Unlock()
		s.over(c)
		consumer.Wait()
	}
}

// peer is a server, or a port where nobody listens.
func (s *soak) peer(dead bool) (network string, at netip.AddrPort) {
	network = s.networks[rand.N(len(s.networks))]
	at = netip.AddrPortFrom(soaked[network], 9)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.servers {
		if !dead {
			network = "udp4"
			if c.LocalAddrPort().Addr().Is6() {
				network = "udp6"
			}
			at = netip.AddrPortFrom(soaked[network], c.LocalAddrPort().Port())
			break
		}
	}
	return network, at
}

// send sends to servers from connected and unconnected sockets, some from several goroutines, and
// to ports where nobody listens any more. Unconnected sockets have PeerErrors or not.
func (s *soak) send(ns *netns.NS, n int) {
	for round := n; !s.stopped(); round++ {
		network, peer := s.peer(round%4 == 0)
		q := udp.NewQueue(10, udp.DropOldest)
		var consumer sync.WaitGroup
		consumer.Go(func() {
			for d := range q.Datagrams() {
				d.Release()
			}
		})
		var c *udp.Conn
		var err error
		ns.Do(func() {
			c, err = udp.Config{PeerErrors: round%3 == 0}.Listen(context.Background(), network, ":0", q)
			if errors.Is(err, errors.ErrUnsupported) {
				c, err = udp.Listen(context.Background(), network, ":0", q)
			}
			if err == nil && round%2 == 0 {
				_, err = c.Connect(peer)
			}
		})
		if c == nil {
			s.t.Error(err)
			return
		}
		if err == nil {
			var senders sync.WaitGroup
			for range 1 + round%3 {
				senders.Go(func() { s.sendTo(c, peer) })
			}
			senders.Wait()
		}
		s.over(c)
		consumer.Wait()
	}
}

// sendTo sends batches for a while.
func (s *soak) sendTo(c *udp.Conn, peer netip.AddrPort) {
	ms := make([]udp.Message, 1+rand.N(60))
	for i := range ms {
		ms[i] = udp.Message{Data: make([]byte, 10+rand.N(3)), To: peer}
	}
	for until := time.Now().Add(rand.N(100 * time.Millisecond)); time.Now().Before(until) && !s.stopped(); {
		if _, err := c.SendBatch(ms); err != nil {
			if errors.Is(err, net.ErrClosed) {
				if <-c.Done(); !aborted(c.Err()) {
					s.t.Error(err)
				}
				return
			}
			if errors.Is(err, udp.ErrFamily) {
				s.t.Error(err)
			}
			s.rest(5 * time.Millisecond) // the cable is unplugged
		}
	}
}

// pairs compares the datagrams that were sent, received and dropped exactly: without segments, on
// loopback, where nothing else is lost.
func (s *soak) pairs(ns *netns.NS) {
	for round := 0; !s.stopped(); round++ {
		q := udp.NewQueue(50, udp.Overflow(round%3))
		var consumer, senders sync.WaitGroup
		consumer.Go(func() {
			for d := range q.Datagrams() {
				s.handle(d)
				d.Release()
			}
		})
		network := s.networks[round%len(s.networks)]
		cfg := udp.Config{NoOffload: true, ReadBuffer: 64 << 10}
		at := sockettest.Loopback(network) + ":0"
		c, from := s.listen(ns, cfg, network, at, q), s.listen(ns, cfg, network, at, udp.BaseHandler{})
		if c == nil || from == nil {
			return
		}
		for range 3 {
			senders.Go(func() {
				ms := []udp.Message{{Data: []byte("one"), To: c.LocalAddrPort()}, {Data: []byte("more"), To: c.LocalAddrPort()}}
				for range 200 {
					if _, err := from.SendBatch(ms); err != nil {
						s.t.Error(err)
					}
				}
			})
		}
		senders.Wait()
		ns.Do(func() { sockettest.Settle(s.t) })
		if err := c.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
		consumer.Wait()
		sent, got := from.Stats().Sent, c.Stats()
		if got.KernelDrops >= 0 && sent != got.Received+uint64(got.KernelDrops) {
			s.t.Errorf("%d sent: %+v", sent, got)
		}
		s.pairsEqual.Add(1)
		s.over(c)
		s.over(from)
	}
}

// groups opens members of a group, and sends to them, over the cable.
func (s *soak) groups(left, right *netns.NS) {
	l0, r0 := left.Interface("l0"), right.Interface("r0")
	for round := 0; !s.stopped(); round++ {
		network, group := "udp4", netip.MustParseAddr("239.1.2.3")
		if s.networks[round%len(s.networks)] == "udp6" {
			network, group = "udp6", netip.MustParseAddr("ff15::1:2:3")
		}
		h := udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { s.heard.Add(1) })
		var m, from *udp.MulticastConn
		var err error
		right.Do(func() { m, err = udp.ListenMulticast(context.Background(), network, ":0", h) })
		if err == nil {
			left.Do(func() { from, err = udp.ListenMulticast(context.Background(), network, ":0", udp.BaseHandler{}) })
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		if round%2 == 0 {
			m.Join(group, r0) // also while that is down
		} else {
			m.Join(group)
		}
		for range 20 {
			from.SendGroup([]byte("to all"), group, m.LocalAddrPort().Port(), l0)
			s.rest(5 * time.Millisecond)
		}
		s.over(m.Conn)
		s.over(from.Conn)
	}
}

// flap unplugs the cable and plugs it in again.
func (s *soak) flap(ns *netns.NS) {
	for !s.stopped() {
		select {
		case <-time.After(700*time.Millisecond + rand.N(time.Second)):
		case <-s.stop:
		}
		for _, state := range []string{"down", "up"} {
			// Not IP, which ends its goroutine on failure.
			if out, err := ns.Try("ip", "link", "set", "r0", state); err != nil {
				s.t.Errorf("r0 %s: %v: %s", state, err, out)
				return
			}
			s.rest(50 * time.Millisecond)
		}
		s.flaps.Add(1)
	}
}
