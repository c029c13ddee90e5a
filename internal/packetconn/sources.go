package packetconn

import (
	"net/netip"
	"sync"

	"github.com/udpkit/udp/internal/socket"
)

// Sources records the local address that each peer sent to last. It holds at most twice
// MaxPeers peers, those that sent or were sent to most recently.
type Sources struct {
	mu            sync.Mutex // guards what follows
	recent, older map[netip.AddrPort]netip.Addr
	peer          netip.AddrPort // of the last note
	local         netip.Addr
}

// MaxPeers is half of the largest number of peers in a Sources.
const MaxPeers = 1 << 15

// Note records the destination of a packet. Groups and broadcast addresses can't be a
// source, so for them it records none.
func (s *Sources) Note(p *socket.Packet) {
	local := netip.Addr{}
	if p.Own {
		local = p.To.Addr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.From != s.peer || local != s.local {
		s.put(p.From, local)
	}
}

// put needs mu.
func (s *Sources) put(peer netip.AddrPort, local netip.Addr) {
	s.peer, s.local = peer, local
	if len(s.recent) >= MaxPeers {
		if _, ok := s.recent[peer]; !ok {
			s.older, s.recent = s.recent, nil
		}
	}
	if s.recent == nil {
		s.recent = make(map[netip.AddrPort]netip.Addr)
	}
	s.recent[peer] = local
}

// Of returns the address to which peer sent last, or none.
func (s *Sources) Of(peer netip.AddrPort) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer == s.peer {
		return s.local
	}
	if local, ok := s.recent[peer]; ok {
		return local
	}
	local, ok := s.older[peer]
	if ok {
		s.put(peer, local)
	}
	return local
}

// Forget removes the local address from which sending to peer has failed.
func (s *Sources) Forget(peer netip.AddrPort, local netip.Addr) (known bool) {
	if s.Of(peer) != local {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(peer, netip.Addr{})
	return true
}

// peers returns the number of peers.
func (s *Sources) peers() int { return len(s.recent) + len(s.older) }
