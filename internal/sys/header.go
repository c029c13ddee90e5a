package sys

import (
	"net/netip"

	"github.com/udpkit/udp/internal/socket"
)

// What a message asks for in its IP header, where the socket has a part in it.

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

// classOf is the traffic class that a message leaves with: its ECN does not clear
// the DSCP that the socket has.
func (c *Conn) classOf(m *socket.Message, v6 bool) uint8 {
	class := m.TrafficClass
	if class == 0 {
		class = c.socketClass(v6)
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
