package udptest

import (
	"net/netip"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// A Header is what a [udp.Datagram] says besides its payload. Zero fields are
// unknown to the datagram, as they are on systems that do not report them.
type Header struct {
	From, To     netip.AddrPort
	IfIndex      int
	TTL          int   // 0 to 255
	TrafficClass uint8 // DSCP and ECN
	ECN          udp.ECN
	Time         time.Time
}

// Datagram makes a datagram as a socket receives it, for tests of a
// [udp.Handler]. It came by no socket: its Conn is nil and Reply fails.
func Datagram(h Header, data []byte) udp.Datagram {
	return udp.NewDatagram(socket.Packet{
		Data: data, From: h.From, To: h.To, Own: true, IfIndex: h.IfIndex,
		TTL: uint8(h.TTL), TrafficClass: h.TrafficClass&^3 | uint8(h.ECN|udp.ECN(h.TrafficClass))&3, Time: h.Time,
	})
}
