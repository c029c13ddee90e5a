package udptest

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// A Header is everything in a [udp.Datagram] except for the payload. A zero field is unknown to
// the datagram, as on a system that does not report it.
type Header struct {
	From, To     netip.AddrPort // source and destination
	IfIndex      int            // index of the interface it arrived on
	TTL          int            // or hop limit, 0 to 255
	TrafficClass uint8          // DSCP and ECN
	ECN          udp.ECN        // in addition to the low two bits of TrafficClass
	Time         time.Time      // of arrival
}

// Datagram returns a datagram as a socket receives it, to test a [udp.Handler] or any other
// function that takes one. It belongs to no socket: its Conn is nil and Reply fails. Data is
// not copied. [Recorder.Receive] gives such a datagram a socket.
func Datagram(h Header, data []byte) udp.Datagram {
	return udp.NewDatagram(socket.Packet{
		Data: data, From: h.From, To: h.To, Own: true, IfIndex: h.IfIndex,
		TTL: uint8(h.TTL), TrafficClass: h.TrafficClass&^3 | uint8(h.ECN|udp.ECN(h.TrafficClass))&3, Time: h.Time,
	})
}
