package cmsg

import "net/netip"

// bsd has the types of IPv4's control messages that a BSD or macOS sends. It has no build
// constraint, so that it is tested and fuzzed on every system.
type bsd struct{ destination, iface, ttl int }

// parse reads one control message. The BSDs say where to with IP_RECVDSTADDR, whose type
// also is the name under which FreeBSD, OpenBSD and DragonFly take a source (there called
// IP_SENDSRCADDR). macOS has it for reading and takes a source as IP_PKTINFO.
func (b bsd) parse(typ int, data []byte, r *Received) {
	switch {
	case typ == b.destination && len(data) >= 4:
		r.To = netip.AddrFrom4([4]byte(data[:4]))
		r.Own = !r.To.IsMulticast() && r.To != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	case typ == b.iface && len(data) >= 4:
		// struct sockaddr_dl { u_char sdl_len; u_char sdl_family; u_short sdl_index; ... };
		r.IfIndex = int(ne.Uint16(data[2:]))
	case typ == b.ttl && len(data) >= 1:
		r.TTL = data[0]
	}
}
