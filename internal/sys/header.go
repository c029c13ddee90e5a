package sys

import (
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// What a message asks for in its IP header, where the socket has a part in it, and
// the space for what the system tells of the header of a datagram.

// sourceOf is the source address of a message that names its outgoing interface.
// Linux forgets the address of an IPv4 socket when a control message names the
// interface only (ip_cmsg_send in net/ipv4/ip_sockglue.c of 6.18).
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

// classOf is the traffic class that a message leaves with, where the socket's is
// known: its ECN does not clear the DSCP that the socket has.
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

// socketClass is the class that the socket was set to, by Config or past it. The
// system is asked once, or each time when somebody else may change it.
func (c *Conn) socketClass(v6 bool) uint8 {
	known := &c.class[toInt(v6)]
	if k := known.Load(); k != 0 && !c.adopted && !c.exposed.Load() {
		return uint8(k)
	}
	class := trafficClass(c.rc, v6)
	known.Store(1<<8 | int32(class))
	return class
}

// Space for control messages beyond cmsg.Space, bytes. Where the owner of a socket
// may have set options before the first read it begins with ownSpace.
const (
	ownSpace = 1 << 10
	maxSpace = 1 << 16
)

// moreSpace is what is tried where so much was not enough.
func moreSpace(had int) int { return min(max(4*had, ownSpace), maxSpace) }

// outletOf is the outgoing interface of a message, 0 for none: the one that it names, or
// that of its link-local source.
func (c *Conn) outletOf(m *socket.Message) int {
	if zone := m.From.Zone(); m.IfIndex == 0 && zone != "" {
		return int(c.indexOf(zone))
	}
	return m.IfIndex
}
