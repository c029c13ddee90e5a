package session

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp"
)

// A Peer is one session of a [Mux]: the conversation with one address. Its methods may be called
// from any goroutine and from callbacks, also after the session has ended.
type Peer struct {
	// What every datagram needs comes first, on two cache lines: with many sessions, the time for
	// a datagram is the time to fetch them.
	addr    netip.AddrPort
	local   netip.AddrPort // where the last datagram was sent to; guarded by table.run
	handler udp.Handler
	seen    time.Duration // when the last datagram arrived, since table.base; guarded by table.mu
	turn    uint64        // grows with each datagram of the table: seen may be the same for many; the same
	listed  time.Duration // when it was put at the end of list; the same
	list    *list         // nil before the session begins and after it ends; the same
	sent    atomic.Bool   // something was sent to the peer
	ended   atomic.Bool   // written under table.mu

	table *table
	// origin is a datagram of the peer without its payload: Reply sends from the address that the
	// peer used, and over the interface where that matters.
	origin     atomic.Pointer[udp.Datagram]
	prev, next *Peer // in list
	err        error // for Stopped
}

// Addr returns the peer's address.
func (p *Peer) Addr() netip.AddrPort { return p.addr }

// LocalAddr returns the address of this host that the peer last sent to. Where the system does
// not report it, it is the address that the socket is bound to.
func (p *Peer) LocalAddr() netip.AddrPort {
	if p.table == nil {
		return netip.AddrPort{}
	}
	if to := p.origin.Load().To(); to.IsValid() {
		return to
	}
	return p.table.conn.LocalAddrPort()
}

// Conn returns the socket, which all sessions share.
func (p *Peer) Conn() *udp.Conn {
	if p.table == nil {
		return nil
	}
	return p.table.conn
}

// Send sends b to the peer from the address that the peer last sent to. Otherwise it is like
// [udp.Datagram.Reply]. It does not keep b. After the end of the session the error wraps
// [net.ErrClosed].
func (p *Peer) Send(b []byte) error {
	if p.table == nil {
		return unmade("write", "Peer", "a Mux")
	}
	if p.ended.Load() {
		return p.opError("write", net.ErrClosed)
	}
	p.willSend()
	return p.origin.Load().Reply(b)
}

// Message returns a message to the peer with the payload b, for [udp.Conn.SendBatch]. Its source
// is the address that the peer last sent to, unless that was a multicast or broadcast address.
func (p *Peer) Message(b []byte) udp.Message {
	p.willSend()
	m := udp.Message{Data: b, To: p.addr}
	if p.table == nil {
		return m
	}
	// On a socket that is bound to one address, the system needs no help.
	if p.table.conn.LocalAddrPort().Addr().IsUnspecified() {
		a := p.origin.Load().To().Addr()
		if a.IsValid() && !a.IsMulticast() && a != broadcast {
			m.From = a.WithZone("")
		}
	}
	return m
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// willSend notes that the next datagram of the peer confirms the session.
func (p *Peer) willSend() {
	if !p.sent.Load() {
		p.sent.Store(true)
	}
}

// End ends the session; the handler's Stopped follows, with a nil error. The next datagram of the
// same address begins a new session. Calling End again does nothing.
func (p *Peer) End() {
	if p.table != nil {
		p.table.end(p, nil)
	}
}

func (p *Peer) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: net.UDPAddrFromAddrPort(p.LocalAddr()),
		Addr: net.UDPAddrFromAddrPort(p.addr), Err: err}
}
