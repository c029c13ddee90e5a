package udpdebug

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// Peers finds the addresses that send most to the sockets that have its Trace. It keeps a fixed
// number of them, whatever arrives (the space-saving algorithm of Metwally, Agrawal and El Abbadi,
// 2005): an address with more than 1/n of all datagrams is always among them.
type Peers struct {
	n int

	mu   sync.Mutex // guards what follows
	all  map[netip.Addr]*peer
	list []*peer // the same, faster to go through
}

type peer struct {
	addr    netip.Addr
	most    uint64 // datagrams, at most
	unsure  uint64 // of these: they may have been those of others
	bytes   uint64 // received and sent since it is kept
	dropped uint64 // likewise
	sent    uint64
}

// NewPeers returns Peers that keep n addresses; 0 is 32.
func NewPeers(n int) *Peers {
	if n <= 0 {
		n = 32
	}
	return &Peers{n: n, all: make(map[netip.Addr]*peer, n)}
}

// Trace returns the Trace for [udp.Config.Trace]. [udp.JoinTraces] combines it with others.
func (p *Peers) Trace() *udp.Trace {
	return &udp.Trace{
		Received: func(_ *udp.Conn, d udp.Datagram) { p.received(d.From.Addr(), len(d.Data)) },
		Sent: func(_ *udp.Conn, m udp.Message, _ time.Time) {
			p.known(m.To.Addr(), func(one *peer) { one.sent++; one.bytes += uint64(len(m.Data)) })
		},
		Dropped: func(_ *udp.Conn, d udp.Datagram, _ udp.DropReason) {
			p.known(d.From.Addr(), func(one *peer) { one.dropped++ })
		},
	}
}

func (p *Peers) received(a netip.Addr, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.all[a]
	if one == nil {
		if len(p.list) < p.n {
			one = &peer{addr: a}
			p.list = append(p.list, one)
		} else {
			one = p.least()
			delete(p.all, one.addr)
			*one = peer{addr: a, most: one.most, unsure: one.most}
		}
		p.all[a] = one
	}
	one.most++
	one.bytes += uint64(bytes)
}

// least is the peer with the fewest datagrams. There is one.
func (p *Peers) least() *peer {
	least := p.list[0]
	for _, one := range p.list {
		if one.most < least.most {
			least = one
		}
	}
	return least
}

// known calls f if a is kept.
func (p *Peers) known(a netip.Addr, f func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.all[a]; one != nil {
		f(one)
	}
}

// top returns the peers, the one with most datagrams first.
func (p *Peers) top() []peer {
	p.mu.Lock()
	all := make([]peer, 0, len(p.list))
	for _, one := range p.list {
		all = append(all, *one)
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b peer) int {
		if a, b := a.most-a.unsure, b.most-b.unsure; a != b {
			if a > b {
				return -1
			}
			return 1
		}
		return strings.Compare(a.addr.String(), b.addr.String())
	})
	return all
}

// AddPeers shows the addresses that send most.
func (h *Handler) AddPeers(name string, p *Peers) (remove func()) {
	return h.add(&source{"peers", name, func(to *section) {
		to.Peers = make([]topPeer, 0, p.n)
		for _, one := range p.top() {
			to.Peers = append(to.Peers, topPeer{one.addr.String(), one.most - one.unsure, one.most, one.sent, one.bytes, one.dropped})
		}
	}})
}
