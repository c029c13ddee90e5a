package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
)

// Asked is what a PacketConn remembers of its peers.
type Asked = asked

// MaxAsked bounds it.
const MaxAsked = maxAsked

// NoteAsked notes that peer has sent to local.
func NoteAsked(a *Asked, peer netip.AddrPort, local netip.Addr) {
	a.note(&socket.Packet{From: peer, To: netip.AddrPortFrom(local, 0), Own: true})
}

// AskedOf returns the address that peer has sent to last.
func AskedOf(a *Asked, peer netip.AddrPort) netip.Addr { return a.of(peer) }

// AskedPeers returns how many peers are remembered.
func AskedPeers(a *Asked) int { return len(a.recent) + len(a.older) }

// BufferBytes returns the length of the buffers that ds lie in, each counted once.
func BufferBytes(ds []Datagram) (n int) {
	counted := map[*buffer.Buffer]bool{}
	for _, d := range ds {
		if b := d.packet.lease.Buffer(); !counted[b] {
			counted[b] = true
			n += len(b.B)
		}
	}
	return n
}
