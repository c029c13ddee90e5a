package exchange

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/udpkit/udp"
)

// socket is the Handler of a client's socket, the one that requests share or one request's own.
type socket[K comparable] struct {
	client *Client[K]
	only   *request[K] // nil: shared
	conn   *udp.Conn
	broken chan struct{} // closed when the socket has stopped
	err    error         // why, valid then
}

func newSocket[K comparable](c *Client[K], only *request[K]) *socket[K] {
	return &socket[K]{client: c, only: only, broken: make(chan struct{})}
}

// socketFor opens a socket for r, or returns the shared one, which it replaces if that stopped.
func (c *Client[K]) socketFor(ctx context.Context, r *request[K]) (*socket[K], error) {
	if c.cfg.SocketPerRequest {
		s := newSocket(c, r)
		conn, err := c.cfg.Socket.Dial(ctx, c.cfg.Network, r.peer.String(), s)
		if err != nil {
			return nil, err
		}
		s.conn = conn.Conn
		c.stats.sockets.Add(1)
		return s, nil
	}
	c.sockets.Lock()
	defer c.sockets.Unlock()
	if c.closing.Err() != nil {
		return nil, net.ErrClosed
	}
	if c.shared != nil && !c.shared.isBroken() {
		return c.shared, nil
	}
	s := newSocket[K](c, nil)
	cfg := c.cfg.Socket
	cfg.PeerErrors = true
	address := ":0"
	if cfg.LocalAddr.IsValid() {
		address = cfg.LocalAddr.String()
	}
	conn, err := cfg.Listen(ctx, c.cfg.Network, address, s)
	if errors.Is(err, errors.ErrUnsupported) && !c.cfg.Socket.PeerErrors {
		cfg.PeerErrors = false
		conn, err = cfg.Listen(ctx, c.cfg.Network, address, s)
	}
	if err != nil {
		return nil, err
	}
	s.conn = conn
	c.shared = s
	c.stats.sockets.Add(1)
	if c.opened++; c.opened > 1 {
		c.stats.replaced.Add(1)
	}
	return s, nil
}

func (s *socket[K]) isBroken() bool {
	select {
	case <-s.broken:
		return true
	default:
		return false
	}
}

// send sends at once, so that the request fails with the system's error and not with a timeout.
func (s *socket[K]) send(payload []byte, to netip.AddrPort) error {
	if s.only != nil {
		to = netip.AddrPort{} // the socket's peer
	}
	if to.IsValid() {
		return s.conn.SendTo(payload, to)
	}
	c, ok := s.conn.Connected()
	if !ok {
		return net.ErrClosed
	}
	return c.Send(payload)
}

// Started implements [udp.Handler].
func (s *socket[K]) Started(*udp.Conn) {}

// Received implements [udp.Handler].
func (s *socket[K]) Received(_ *udp.Conn, d udp.Datagram) {
	c := s.client
	key, ok := c.cfg.Key(d.Data)
	if !ok {
		c.stats.malformed.Add(1)
		d.Drop()
		return
	}
	r, known, ended, payload := s.find(key, &d)
	counter := &c.stats.spoofed
	switch {
	case r == nil && !known:
		counter = &c.stats.unknown
	case r == nil:
	case ended:
		counter = &c.stats.late
	case c.cfg.Match != nil && !c.cfg.Match(payload, d.Data):
	case c.pending.finish(r, result{response: d.Clone()}):
		return
	default:
		counter = &c.stats.late
	}
	counter.Add(1)
	d.Drop()
}

func (s *socket[K]) find(key K, d *udp.Datagram) (r *request[K], known, ended bool, payload []byte) {
	p := &s.client.pending
	if s.only == nil {
		return p.sender(key, d)
	}
	if key != s.only.key {
		return nil, false, false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.only, true, s.only.ended, s.only.payload
}

// Refused implements [udp.Handler].
func (s *socket[K]) Refused(_ *udp.Conn, f *udp.Refusal) {
	p := &s.client.pending
	if f.MTU > 0 {
		return // the system has learned the path MTU, and fragments the next transmission
	}
	r := s.only
	if r == nil {
		key, ok := s.client.cfg.Key(f.Payload)
		r = p.refused(key, ok, f)
	}
	if r == nil || !p.finish(r, result{err: f}) {
		s.client.stats.strayRefusals.Add(1)
	}
}

// Stopped implements [udp.Handler].
func (s *socket[K]) Stopped(_ *udp.Conn, err error) {
	if s.err = err; err == nil {
		s.err = net.ErrClosed
	}
	close(s.broken)
}
