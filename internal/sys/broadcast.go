package sys

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// broadcastsTTL is how long the broadcast addresses of this host are cached. If one is added
// meanwhile, a reply that uses it as its source fails, like a reply from a removed address.
const broadcastsTTL = time.Second

// broadcasts caches the IPv4 broadcast addresses of the interfaces, for systems that do not
// report whether a datagram was sent to one (macOS and the BSDs).
type broadcasts struct {
	list func() ([]socket.Interface, error) // nil: netInterfaces; of tests

	mu    sync.Mutex
	until time.Time
	known map[netip.Addr]bool
}

// has reports whether a is the broadcast address of an interface. If the interfaces can't
// be listed, it returns false.
func (b *broadcasts) has(a netip.Addr, now time.Time) bool {
	if !a.Is4() || a.IsMulticast() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil || now.After(b.until) {
		list := b.list
		if list == nil {
			list = netInterfaces
		}
		ifs, err := list()
		if err != nil {
			return false
		}
		b.known, b.until = map[netip.Addr]bool{}, now.Add(broadcastsTTL)
		for i := range ifs {
			for _, p := range ifs[i].Addrs {
				if a, ok := socket.BroadcastOf(p); ok && ifs[i].Flags&net.FlagBroadcast != 0 {
					b.known[a] = true
				}
			}
		}
	}
	return b.known[a]
}

// TakesIPv4Interface reports whether a control message can choose the outgoing interface of a
// datagram to an IPv4 address that is no group.
func TakesIPv4Interface() bool {
	_, ok := cmsg.AppendInterface(nil, netip.Addr{}, 1, false)
	return ok
}
