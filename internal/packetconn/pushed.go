package packetconn

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
)

// Pushed is a net.PacketConn that reads from a channel of datagrams.
type Pushed[Datagram any] struct {
	PushedConfig[Datagram]

	sources *Sources // nil unless the socket is bound to every address
	once    sync.Once
	closed  chan struct{}

	mu      sync.Mutex    // guards what follows
	reads   time.Time     // deadline of reads
	changed chan struct{} // closed when reads is replaced
	writes  time.Time     // deadline of writes
}

// PushedConfig is what a Pushed needs of its user. All of it must be set.
type PushedConfig[Datagram any] struct {
	C     <-chan Datagram // nil: reads fail
	Local func() net.Addr // of the socket
	Net   string
	IPv4  bool // addresses have 4 bytes

	Idle  func()                                          // is called before a read waits
	Ended func() error                                    // why C was closed, or is nil
	Take  func(d Datagram, b []byte) (socket.Packet, int) // copies the payload and releases d
	Send  func(*socket.Message) error                     // sends immediately
}

// NewPushed returns a Pushed. wildcard reports whether the socket is bound to every
// address.
func NewPushed[Datagram any](cfg PushedConfig[Datagram], wildcard bool) *Pushed[Datagram] {
	p := &Pushed[Datagram]{PushedConfig: cfg, closed: make(chan struct{}), changed: make(chan struct{})}
	if wildcard {
		p.sources = new(Sources)
	}
	return p
}

func (p *Pushed[Datagram]) opError(op string, addr net.Addr, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: p.Net, Source: p.Local(), Addr: addr, Err: err}
}

func (p *Pushed[Datagram]) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// ReadFrom implements net.PacketConn.
func (p *Pushed[Datagram]) ReadFrom(b []byte) (int, net.Addr, error) {
	d, err := p.receive()
	if err != nil {
		return 0, nil, p.opError("read", nil, err)
	}
	of, n := p.Take(d, b)
	if p.sources != nil {
		p.sources.Note(&of)
	}
	return n, new(Addr).Set(of.From, p.IPv4), nil
}

// receive waits for a datagram. After the deadline or Close it fails even if a datagram
// is pending.
func (p *Pushed[Datagram]) receive() (none Datagram, err error) {
	for idle := false; ; {
		p.mu.Lock()
		at, changed := p.reads, p.changed
		p.mu.Unlock()
		switch {
		case p.C == nil:
			return none, p.Ended()
		case p.isClosed():
			return none, net.ErrClosed
		case !at.IsZero() && !time.Now().Before(at):
			return none, os.ErrDeadlineExceeded
		}
		select {
		case d, ok := <-p.C:
			return p.received(d, ok)
		default:
		}
		if !idle {
			p.Idle()
			idle = true
		}
		d, ok, over := p.wait(at, changed)
		if over {
			return p.received(d, ok)
		}
	}
}

func (p *Pushed[Datagram]) received(d Datagram, ok bool) (Datagram, error) {
	if !ok {
		return d, p.Ended()
	}
	return d, nil
}

// wait waits for a datagram, the end of the channel, Close, or a change of the deadline.
func (p *Pushed[Datagram]) wait(at time.Time, changed <-chan struct{}) (d Datagram, ok, over bool) {
	var passed <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		passed = t.C
	}
	select {
	case d, ok = <-p.C:
		return d, ok, true
	case <-passed:
	case <-changed:
	case <-p.closed:
	}
	return d, false, false
}

// WriteTo implements net.PacketConn.
func (p *Pushed[Datagram]) WriteTo(b []byte, addr net.Addr) (int, error) {
	m := socket.Message{Data: b}
	if a, ok := addr.(*net.UDPAddr); ok && a != nil {
		to := send.Unmap(AddrPort(a, p.IPv4))
		m.To = netip.AddrPortFrom(ThisHost(to.Addr()), to.Port())
	}
	p.mu.Lock()
	late := p.writes
	p.mu.Unlock()
	if p.sources != nil {
		m.From = p.sources.Of(m.To)
	}
	var err error
	switch {
	case p.isClosed():
		err = net.ErrClosed
	case !late.IsZero() && !time.Now().Before(late):
		err = os.ErrDeadlineExceeded
	default:
		err = p.Send(&m)
	}
	if err != nil {
		return 0, p.opError("write", addr, err)
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *Pushed[Datagram]) Close() error {
	err := net.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		err = nil
	})
	return p.opError("close", nil, err)
}

// LocalAddr implements net.PacketConn.
func (p *Pushed[Datagram]) LocalAddr() net.Addr { return p.Local() }

// SetDeadline implements net.PacketConn.
func (p *Pushed[Datagram]) SetDeadline(t time.Time) error {
	return p.set(func() { p.setReads(t); p.writes = t })
}

// SetReadDeadline implements net.PacketConn.
func (p *Pushed[Datagram]) SetReadDeadline(t time.Time) error {
	return p.set(func() { p.setReads(t) })
}

// SetWriteDeadline implements net.PacketConn. A write that waits for room is bounded by
// the write deadline of the socket only.
func (p *Pushed[Datagram]) SetWriteDeadline(t time.Time) error {
	return p.set(func() { p.writes = t })
}

func (p *Pushed[Datagram]) set(f func()) error {
	if p.isClosed() {
		return p.opError("set", nil, net.ErrClosed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	return nil
}

// setReads needs mu.
func (p *Pushed[Datagram]) setReads(t time.Time) {
	close(p.changed)
	p.reads, p.changed = t, make(chan struct{})
}
