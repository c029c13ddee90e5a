package udp

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Refusal is an ICMP error (RFC 792, RFC 4443) about a datagram sent earlier, such
// as "port unreachable" or "packet too big". As an error it is [ErrRefused] and its
// errno: errors.Is(r, syscall.ECONNREFUSED) means that nobody listens on that port.
//
// On Linux all fields are filled. Elsewhere the system reports only an errno: Err is
// set, Peer is the socket's peer, and the other fields are zero.
type Refusal struct {
	Peer       netip.AddrPort // where the datagram was sent to
	Offender   netip.Addr     // sender of the ICMP error: the peer, or a router on the path
	Type, Code uint8          // of ICMP or ICMPv6, depending on Peer's family
	MTU        int            // bytes, if the ICMP error carries one, otherwise 0
	Payload    []byte         // the beginning of the datagram's payload, as far as the ICMP error quotes it
	Err        error          // the [syscall.Errno] to which the system maps it

	conn *Conn // whose it is, nil: made by a user
}

// Error implements error.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("udp: datagram to %v was refused: %v", r.Peer, r.Err)
	if r.Offender.IsValid() {
		s += fmt.Sprintf(" (ICMP type %d code %d from %v)", r.Type, r.Code, r.Offender)
	}
	return s
}

// Is reports whether target is ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// Unwrap returns r.Err.
func (r *Refusal) Unwrap() error { return r.Err }

// LogValue implements [slog.LogValuer].
func (r *Refusal) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("peer", r.Peer.String()), slog.Any("error", r.Err)}
	if r.Offender.IsValid() {
		attrs = append(attrs, slog.String("offender", r.Offender.String()),
			slog.Int("type", int(r.Type)), slog.Int("code", int(r.Code)))
	}
	if r.MTU > 0 {
		attrs = append(attrs, slog.Int("mtu", r.MTU))
	}
	return slog.GroupValue(attrs...)
}

// refusal makes the Handler's Refusal of a report of the socket.
func (c *Conn) refusal(r socket.Report) *Refusal {
	return &Refusal{Peer: c.peer.Or(r.Peer), Offender: r.Offender, Type: r.Type, Code: r.Code,
		MTU: r.MTU, Payload: bytes.Clone(r.Payload), Err: r.Err, conn: c}
}

// countReport counts what the socket reported and returns it.
func (c *Conn) countReport(r socket.Report) error {
	f := c.refusal(r)
	c.countRefusal(f)
	return f
}

// postRefusal passes an ICMP error that a send has met to the Handler.
func (c *Conn) postRefusal(peer netip.AddrPort, err error) {
	f := c.refusal(socket.Report{Peer: peer, Err: sys.ErrnoOf(err)})
	if !c.events.PostReport(func() { c.reader.refuse(f) }) {
		c.stats.RefusalsLost.Add(1) // a callback that blocks must not cost memory for each send
		return
	}
	c.wake()
}

// lost counts a refusal that no Handler gets.
func (r *Refusal) lost() {
	if r.conn != nil {
		r.conn.stats.RefusalsLost.Add(1)
	}
}

// countRefusal counts an ICMP error.
func (c *Conn) countRefusal(r *Refusal) {
	if t := c.cfg.Trace; t != nil && t.Refused != nil {
		c.guard.Call("Trace.Refused", func() { t.Refused(c, r) })
	}
	c.stats.Refused.Add(1)
}
