package udp

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/packetconn"
	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
)

// PacketConn returns a net.PacketConn that reads from q and sends on c. It lets several
// protocols share a port, for example by the rules of RFC 7983 for STUN, DTLS and QUIC:
// the Handler of c handles one of them and passes the datagrams of another to q. To give
// a library a port of its own, use [Config.ListenPacket], which is faster.
//
// If c is bound to every address, WriteTo sends from the address that the peer sent to
// last. Close closes the net.PacketConn only, neither c nor q. After q has ended reads
// return [net.ErrClosed], or the error that stopped the socket. ICMP errors are in
// [Queue.Refusals].
func (q *Queue) PacketConn(c *Conn) net.PacketConn {
	if c == nil {
		c = new(Conn) // whose methods fail
	}
	p := &queueConn{queue: q, conn: c, closed: make(chan struct{})}
	p.changed = make(chan struct{})
	if c.LocalAddrPort().Addr().IsUnspecified() {
		p.sources = new(packetconn.Sources)
	}
	return p
}

// queueConn is a net.PacketConn over a Queue.
type queueConn struct {
	queue   *Queue
	conn    *Conn
	sources *packetconn.Sources // nil unless the socket is bound to every address
	once    sync.Once
	closed  chan struct{}

	mu      sync.Mutex    // guards what follows
	reads   time.Time     // deadline of reads
	changed chan struct{} // closed when that is another one
	writes  time.Time     // deadline of writes
}

func (p *queueConn) opError(op string, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: p.conn.network, Source: p.conn.LocalAddr(), Addr: addr, Err: err}
}

func (p *queueConn) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// ReadFrom implements net.PacketConn.
func (p *queueConn) ReadFrom(b []byte) (int, net.Addr, error) {
	d, err := p.receive()
	if err != nil {
		return 0, nil, p.opError("read", nil, err)
	}
	n := copy(b, d.Data)
	if p.sources != nil {
		h := d.header()
		p.sources.Note(&socket.Packet{From: d.From, To: h.to, Own: h.own})
	}
	d.Release()
	return n, new(packetconn.Addr).Set(d.From, p.conn.family == socket.IPv4), nil
}

// receive waits for a datagram. A deadline that has passed and Close win over one that
// waits.
func (p *queueConn) receive() (Datagram, error) {
	if p.queue == nil || p.queue.done == nil {
		return Datagram{}, errZeroQueue
	}
	flushed := false
	for {
		p.mu.Lock()
		at, changed := p.reads, p.changed
		p.mu.Unlock()
		switch {
		case p.isClosed():
			return Datagram{}, net.ErrClosed
		case !at.IsZero() && !time.Now().Before(at):
			return Datagram{}, os.ErrDeadlineExceeded
		}
		select {
		case d, ok := <-p.queue.fifo.ch:
			return p.received(d, ok)
		default:
		}
		if !flushed {
			p.queue.fifo.flushReplies()
			flushed = true
		}
		d, ok, over := p.wait(at, changed)
		if over {
			return p.received(d, ok)
		}
	}
}

func (p *queueConn) received(d Datagram, ok bool) (Datagram, error) {
	if !ok {
		return d, p.queue.reason()
	}
	return d, nil
}

// wait waits for a datagram, the end of the queue, or for what makes receive look
// again.
func (p *queueConn) wait(at time.Time, changed <-chan struct{}) (d Datagram, ok, over bool) {
	var passed <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		passed = t.C
	}
	select {
	case d, ok = <-p.queue.fifo.ch:
		return d, ok, true
	case <-passed:
	case <-changed:
	case <-p.closed:
	}
	return d, false, false
}

// WriteTo implements net.PacketConn.
func (p *queueConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to := netip.AddrPort{}
	if a, ok := addr.(*net.UDPAddr); ok && a != nil {
		to = send.Unmap(packetconn.AddrPort(a, p.conn.family == socket.IPv4))
		to = netip.AddrPortFrom(packetconn.ThisHost(to.Addr()), to.Port())
	}
	p.mu.Lock()
	late := p.writes
	p.mu.Unlock()
	m := socket.Message{Data: b, To: to}
	if p.sources != nil {
		m.From = p.sources.Of(to)
	}
	var err error
	switch {
	case p.isClosed():
		err = net.ErrClosed
	case !late.IsZero() && !time.Now().Before(late):
		err = os.ErrDeadlineExceeded
	case !p.conn.ok():
		err = os.ErrInvalid
	default:
		err = p.conn.sendNow(&m)
		if op, ok := err.(*net.OpError); ok {
			err = op.Err
		}
	}
	if err != nil {
		return 0, p.opError("write", addr, err)
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *queueConn) Close() error {
	err := net.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		err = nil
	})
	return p.opError("close", nil, err)
}

// LocalAddr implements net.PacketConn.
func (p *queueConn) LocalAddr() net.Addr { return p.conn.LocalAddr() }

// SetDeadline implements net.PacketConn.
func (p *queueConn) SetDeadline(t time.Time) error {
	if err := p.SetReadDeadline(t); err != nil {
		return err
	}
	return p.SetWriteDeadline(t)
}

// SetReadDeadline implements net.PacketConn.
func (p *queueConn) SetReadDeadline(t time.Time) error {
	if p.isClosed() {
		return p.opError("set", nil, net.ErrClosed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.reads, p.changed = t, make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn. A write that waits for room is bounded by
// the write deadline of c only.
func (p *queueConn) SetWriteDeadline(t time.Time) error {
	if p.isClosed() {
		return p.opError("set", nil, net.ErrClosed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = t
	return nil
}
