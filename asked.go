package udp

import (
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/socket"
)

// asked records the local address that each peer sent to last. It holds at most twice
// maxAsked peers, those that sent or were sent to most recently.
type asked struct {
	mu            sync.Mutex // guards what follows
	recent, older map[netip.AddrPort]netip.Addr
	peer          netip.AddrPort // of the last note
	local         netip.Addr
}

const maxAsked = 1 << 15

// note records the destination of a packet. Groups and broadcast addresses can't be a
// source, so for them it records none.
func (a *asked) note(p *socket.Packet) {
	local := netip.Addr{}
	if p.Own {
		local = p.To.Addr()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.From != a.peer || local != a.local {
		a.put(p.From, local)
	}
}

// put needs mu.
func (a *asked) put(peer netip.AddrPort, local netip.Addr) {
	a.peer, a.local = peer, local
	if len(a.recent) >= maxAsked {
		if _, ok := a.recent[peer]; !ok {
			a.older, a.recent = a.recent, nil
		}
	}
	if a.recent == nil {
		a.recent = make(map[netip.AddrPort]netip.Addr)
	}
	a.recent[peer] = local
}

// of returns the address that peer has sent to last, or none.
func (a *asked) of(peer netip.AddrPort) netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if peer == a.peer {
		return a.local
	}
	if local, ok := a.recent[peer]; ok {
		return local
	}
	local, ok := a.older[peer]
	if ok {
		a.put(peer, local)
	}
	return local
}

// forget is for an address that peer can't be sent to from any more.
func (a *asked) forget(peer netip.AddrPort, local netip.Addr) (known bool) {
	if a.of(peer) != local {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(peer, netip.Addr{})
	return true
}
