package sys

import (
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// The fields of the IP header that depend on a message and on its socket, and the space for
// the control messages of a read.

// sourceOf returns the source address for a message that names its outgoing interface. It
// has to be given too: if a control message has the interface alone, Linux ignores the address
// that an IPv4 socket is bound to (ip_cmsg_send in net/ipv4/ip_sockglue.c of 6.18).
func (c *Conn) sourceOf(m *socket.Message) netip.Addr {
	local := c.bound.Addr()
	switch {
	case m.From.IsValid():
		return m.From
	case m.To.IsValid() && c.wildcard():
		return netip.Addr{}
	case !m.To.IsValid(): // the address that was chosen for the peer
		local = c.Local().Addr()
	}
	if local.IsUnspecified() || local.IsMulticast() {
		return netip.Addr{}
	}
	return local.Unmap()
}

// classOf returns the traffic class of a message. own is the socket's: if the message sets
// the ECN only, the DSCP is the socket's.
func classOf(m *socket.Message, own uint8) uint8 {
	class := m.TrafficClass
	if class == 0 {
		class = own
	}
	if m.ECN != 0 {
		class = class&^3 | m.ECN&3
	}
	return class
}

// socketClass returns the class set on the socket, by Config or otherwise. It asks the
// system once, or each time if another holder of the socket may change it.
func (c *Conn) socketClass(v6 bool) uint8 {
	known := &c.class[toInt(v6)]
	if k := known.Load(); k != 0 && !c.adopted && !c.exposed.Load() {
		return uint8(k)
	}
	class := trafficClass(c.rc, v6)
	known.Store(1<<8 | int32(class))
	return class
}

// Space for control messages beyond cmsg.Space, in bytes. It begins with ownSpace if the
// owner of the socket may have set options before the first read.
const (
	ownSpace = 1 << 10
	maxSpace = 1 << 16
)

// moreSpace returns the space to try after had was too little.
func moreSpace(had int) int { return min(max(4*had, ownSpace), maxSpace) }

// outletOf returns the outgoing interface of a message, which it names itself or by its
// link-local source; 0: the system chooses.
func (c *Conn) outletOf(m *socket.Message) int {
	if zone := m.From.Zone(); m.IfIndex == 0 && zone != "" {
		return int(c.indexOf(zone))
	}
	return m.IfIndex
}
