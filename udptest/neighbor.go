package udptest

import (
	"net/netip"
	"time"
)

// Neighbor discovery as on Linux (net.ipv4.neigh.default): the host sends mcast_solicit
// requests at intervals of retrans_time_ms, and fails one interval after the last. Datagrams
// sent meanwhile wait for the same reply. A failure is not remembered: the next datagram
// starts again.
const (
	solicits    = 3
	solicitEach = time.Second
)

// look lets p, whose next hop does not exist, wait for the next request, or drops it after
// the last one.
func (n *Net) look(p *packet, now time.Duration) {
	h := p.from.host
	if p.from.down || p.from.removed {
		n.note(now, p.from.out.name, "gone", p)
		n.free(p)
		return
	}
	began, looking := h.looking[p.hop]
	if p.stage != unresolved {
		if !looking {
			if h.looking == nil {
				h.looking = make(map[netip.Addr]time.Duration)
			}
			began = now
			h.looking[p.hop] = began
		}
		p.stage, p.until = unresolved, began+solicits*solicitEach
	}
	if now >= p.until {
		delete(h.looking, p.hop)
		n.note(now, h.name, "no neighbor", p)
		h.answer(p, hostUnreachable, 0, now)
		n.free(p)
		return
	}
	wait := (p.until - now) % solicitEach
	if wait == 0 {
		wait = solicitEach
	}
	n.schedule(p, now, wait)
}
