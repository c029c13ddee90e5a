package udptest

import (
	"net/netip"
	"time"
)

// How a host looks for a neighbor, as Linux does it (net.ipv4.neigh.default): it
// asks mcast_solicit times, every retrans_time_ms, and gives up as long after the
// last time. What is sent meanwhile waits for the same answer. That there was none
// is not remembered: the next datagram makes the host look again.
const (
	solicits    = 3
	solicitEach = time.Second
)

// look lets p, whose hop is not there, wait until its host asks for it again, or
// gives it up.
func (n *Net) look(p *packet, now time.Duration) {
	h := p.from.host
	if p.from.down || p.from.removed { // nobody asks
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
