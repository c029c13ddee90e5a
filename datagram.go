package udp

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// A Datagram is one that a socket has received.
//
// Data lies in a buffer that several datagrams of one read may share. Inside
// [Handler.Received] it is valid until Received returns; Retain keeps it longer,
// Clone copies it. A Datagram out of a [Queue] belongs to the consumer: Release
// gives the buffer back for reuse; without it the garbage collector takes it.
// Built with the race detector, a buffer is overwritten when it is released, so
// that a use after that shows.
type Datagram struct {
	Data []byte         // payload, 0 to 65,527 bytes
	From netip.AddrPort // sender; IPv4 is never 4-in-6; an IPv6 zone is kept

	to      netip.AddrPort
	ifIndex int
	ttl     uint8
	class   uint8
	time    time.Time
	own     bool // to is an address of ours
	conn    *Conn
	buf     *buffer.Buffer
}

// NewDatagram makes a Datagram that no socket received. It is for package udptest,
// whose Datagram function is the way to make one.
func NewDatagram(p socket.Packet) Datagram {
	return Datagram{Data: p.Data, From: p.From, to: p.To, ifIndex: p.IfIndex,
		ttl: p.TTL, class: p.TrafficClass, time: p.Time, own: p.Own}
}

// To returns the address and port that d was sent to, where known: see
// [Info.PacketInfo].
func (d Datagram) To() netip.AddrPort {
	if d.to.Port() == 0 && d.conn != nil && d.to.Addr().IsValid() {
		return netip.AddrPortFrom(d.to.Addr(), d.conn.LocalAddrPort().Port())
	}
	return d.to
}

// IfIndex returns the index of the interface that d arrived on, 0 where unknown.
func (d Datagram) IfIndex() int { return d.ifIndex }

// TTL returns the TTL or hop limit that d arrived with, 0 where unknown.
func (d Datagram) TTL() int { return int(d.ttl) }

// TrafficClass returns the traffic class (TOS) of the IP header, DSCP and ECN
// together, 0 where unknown.
func (d Datagram) TrafficClass() uint8 { return d.class }

// ECN returns the explicit congestion notification field of the IP header,
// [NotECT] where unknown: see [Info.ECN].
func (d Datagram) ECN() ECN { return ECN(d.class & 3) }

// Time returns when the kernel received d, the zero time without
// [Config.Timestamps].
func (d Datagram) Time() time.Time { return d.time }

// Conn returns the socket that d came by, nil for a Datagram that came by none.
func (d Datagram) Conn() *Conn { return d.conn }

// Reply sends b to d.From, from the address that d was sent to, on the socket
// it came by. After a datagram to a group or a broadcast address, and where To
// is not known, the system chooses the source. In Received, what Reply sends
// may be gathered until the datagrams read together have been handled: see
// [Conn.Flush].
//
// Errors are those of [Conn.SendTo].
func (d Datagram) Reply(b []byte) error {
	if d.conn == nil {
		return errNoConn
	}
	from := d.to.Addr()
	if !d.own {
		from = netip.Addr{}
	}
	return d.conn.sendFrom(b, d.From, from, 0)
}

// Clone returns a copy of d with a Data of its own, which is never overwritten;
// Retain and Release do nothing on it.
func (d Datagram) Clone() Datagram {
	d.Data, d.buf = bytes.Clone(d.Data), nil
	if d.Data == nil {
		d.Data = []byte{}
	}
	return d
}

// Retain keeps d.Data valid after Received has returned, until Release is
// called, once for each Retain. It keeps the whole buffer, up to 64 KiB, so
// Clone is the better choice for what is kept long.
func (d Datagram) Retain() {
	if d.buf != nil {
		d.buf.Retain(1)
	}
}

// Release says that d.Data is not used any more. It panics when it is called
// more often than it may be.
func (d Datagram) Release() {
	if d.buf != nil {
		d.buf.Release(1)
	}
}

// A Message is a datagram to send with [Conn.SendBatch]. The zero value of a field
// other than Data means the setting of the socket, or the choice of the system.
//
// Linux takes all of them. Over IPv6 so do macOS and the BSDs; over IPv4 these have
// no TTL and no IfIndex (but to a group), and only macOS and FreeBSD a TrafficClass.
// Windows and Plan 9 take none of the three but an IfIndex to a group. A message that
// asks for what is missing fails with an error wrapping [errors.ErrUnsupported].
type Message struct {
	Data         []byte         // payload; may be empty; only read while SendBatch runs
	To           netip.AddrPort // destination; on a connected socket the zero value is its peer
	From         netip.Addr     // source address; ignored on a connected socket
	IfIndex      int            // outgoing interface
	TTL          int            // TTL or hop limit, 1 to 255, also to a group
	TrafficClass uint8          // traffic class (TOS): DSCP and ECN
	ECN          ECN            // replaces the two lower bits of the traffic class, where [Info.ECN] says so
}

// ECN is the explicit congestion notification field of the IP header (RFC 3168,
// section 5).
type ECN uint8

// The four codepoints of ECN.
const (
	NotECT ECN = iota // not ECN-capable
	ECT1              // ECN-capable transport, codepoint 1
	ECT0              // ECN-capable transport, codepoint 0
	CE                // congestion experienced
)
