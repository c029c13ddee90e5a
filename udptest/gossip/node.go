package main

import (
	"context"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// A node is a member of a group that monitors itself with SWIM (Das, Gupta, Motivala: "SWIM:
// Scalable Weakly-consistent Infection-style Process Group Membership Protocol", 2002), with
// suspicion. In each period a node probes one member. A member that does not reply, neither to
// the node nor to others that probe it on the node's behalf, is suspected; it is declared dead
// unless it contradicts in time. News travel in the probes and their replies.
type node struct {
	udp.BaseHandler
	conn   *udp.Conn
	self   netip.AddrPort
	period time.Duration
	grain  time.Duration // times of its timers are multiples of it: an instant in a simulation
	roster *roster
	onNews func(n *node, u update, old state) // called with the lock held, for each piece of news; may be nil

	mu      sync.Mutex
	rand    *rand.Rand
	timer   *time.Timer
	stopped bool
	buf     []byte

	incarnation uint32
	changed     map[int32]status         // by index, for members with news
	joined      []netip.AddrPort         // members not in the roster
	numbers     map[netip.AddrPort]int32 // of those
	suspects    []suspicion
	rumors      []rumor
	at, step    int // the order of probing

	probe   probe
	number  uint32
	relayed []relay
}

// A probe is the probe of the current period.
type probe struct {
	target netip.AddrPort
	number uint32
	stage  int
	acked  bool
	began  time.Time
}

// A relay is a probe on behalf of another node.
type relay struct {
	number, theirs uint32
	to             netip.AddrPort
}

// A roster is the list of members at the beginning. Nodes only read it, so those of one
// process share it.
type roster struct {
	list    []netip.AddrPort
	numbers map[netip.AddrPort]int32 // in the list
}

func newRoster(nodes []*node) *roster {
	r := &roster{numbers: make(map[netip.AddrPort]int32, len(nodes))}
	for i, n := range nodes {
		r.list = append(r.list, n.self)
		r.numbers[n.self] = int32(i)
	}
	return r
}

// Stages of a period: a probe is repeated after the first two fifths, other nodes are asked to
// probe after the third, and the end of the period decides. In a simulation each stage lasts
// at least an instant.
var stages = [...]float64{0.2, 0.4, 0.6, 1}

// instant is the resolution of time in a simulation. It is long enough for many nodes to be
// active at one instant, on all cores, and short compared to the latency.
const instant = 10 * time.Millisecond

const (
	helpers  = 4  // nodes that are asked to probe
	maxRelay = 64 // relays that are remembered
)

// newNode opens the socket of a node. The node is inactive until start.
func newNode(cfg udp.Config, address string, period time.Duration, seed uint64) (*node, error) {
	n := &node{period: period, grain: 1, rand: rand.New(rand.NewPCG(seed, 1)), changed: make(map[int32]status)}
	c, err := cfg.Listen(context.Background(), "udp", address, n)
	if err != nil {
		return nil, err
	}
	n.conn, n.self = c, c.LocalAddrPort()
	return n, nil
}

// start activates the node, with the members of the roster. A node that is not among them joins
// by announcing itself.
func (n *node) start(r *roster, join bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.roster = r
	if join {
		n.incarnation = 1
		n.spread(update{n.self, n.incarnation, alive})
	}
	// Nodes start at different times, halfway between instants: in a simulation datagrams
	// arrive at instants, so the order does not depend on the scheduler.
	n.timer = time.AfterFunc(time.Duration(n.rand.Int64N(int64(n.period))).Truncate(n.grain)+n.grain/2, n.tick)
}

// stop stops the node without announcing it, like a crash.
func (n *node) stop() {
	n.mu.Lock()
	n.stopped = true
	if n.timer != nil {
		n.timer.Stop()
	}
	n.mu.Unlock()
	n.conn.Close()
}

// tick is called by the timer at the end of a stage of the probe.
func (n *node) tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return
	}
	p := &n.probe
	switch {
	case p.target.IsValid() && p.acked, p.stage >= len(stages)-1, !p.target.IsValid():
		n.endPeriod()
		n.beginPeriod()
	case p.stage < len(stages)-2:
		n.send(ping, p.number, p.target, netip.AddrPort{})
		p.stage++
	default:
		for range helpers {
			if h := n.member(n.rand.IntN(n.members())); h != n.self && h != p.target && n.state(h) == alive {
				n.send(request, p.number, h, p.target)
			}
		}
		p.stage++
	}
	n.timer.Reset(time.Until(n.ends(p.stage)))
}

// ends returns the end of a stage of the probe, whole grains after its beginning.
func (n *node) ends(stage int) time.Time {
	d := time.Duration(stages[stage] * float64(n.period))
	return n.probe.began.Add((d + n.grain - 1).Truncate(n.grain))
}

func (n *node) endPeriod() {
	if p := n.probe; p.target.IsValid() && !p.acked && n.state(p.target) == alive {
		n.learn(update{p.target, n.status(p.target).incarnation, suspect})
	}
	// The first suspect is due first, because the timeout never becomes shorter.
	now, due := time.Now(), 0
	for ; due < len(n.suspects) && !now.Before(n.suspects[due].deadline); due++ {
		if s := n.suspects[due].of; n.status(s.member) == (status{s.incarnation, suspect}) { // not contradicted
			n.learn(update{s.member, s.incarnation, dead})
		}
	}
	n.suspects = slices.Delete(n.suspects, 0, due)
}

func (n *node) beginPeriod() {
	n.number++
	n.probe = probe{target: n.next(), number: n.number, began: time.Now()}
	if n.probe.target.IsValid() {
		n.send(ping, n.number, n.probe.target, netip.AddrPort{})
	} else {
		n.probe.stage = len(stages) - 1
	}
}

// members returns the number of members so far.
func (n *node) members() int { return len(n.roster.list) + len(n.joined) }

func (n *node) member(i int) netip.AddrPort {
	if i < len(n.roster.list) {
		return n.roster.list[i]
	}
	return n.joined[i-len(n.roster.list)]
}

// index returns the number of a member within this node. A node remembers many, and indexes are
// shorter than addresses.
func (n *node) index(m netip.AddrPort) (i int32, known bool) {
	if i, known = n.roster.numbers[m]; !known {
		i, known = n.numbers[m]
	}
	return i, known
}

// status returns what is known about a member; without news it is alive.
func (n *node) status(m netip.AddrPort) status {
	if i, known := n.index(m); known {
		return n.changed[i]
	}
	return status{}
}

func (n *node) state(m netip.AddrPort) state { return n.status(m).state }

// next returns the next member to probe. Every member comes once before any comes again (SWIM,
// section 4.3), in an order that depends on a random step.
func (n *node) next() netip.AddrPort {
	count := n.members()
	for range 10 {
		if n.step == 0 || count <= n.step {
			n.at = n.rand.IntN(count)
			for n.step = 1 + n.rand.IntN(count); gcd(n.step, count) != 1; n.step = 1 + n.rand.IntN(count) {
			}
		}
		n.at = (n.at + n.step) % count
		if m := n.member(n.at); m != n.self && n.state(m) != dead {
			return m
		}
	}
	return netip.AddrPort{}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// send sends a message with the news that were sent least often.
func (n *node) send(k kind, number uint32, to, about netip.AddrPort) {
	n.buf = appendHeader(n.buf[:0], k, number)
	if k == request {
		n.buf = appendAddr(n.buf, about)
	}
	if st := n.status(to); k == ping && st.state == suspect {
		n.buf = appendUpdate(n.buf, update{to, st.incarnation, suspect}) // so that it can contradict
	}
	count := min(len(n.rumors), maxUpdates)
	limit := int(5 + 2*math.Log10(float64(n.members()))) // 5 in a small group, 13 in one of 10,000
	for i := range count {
		r := &n.rumors[i]
		n.buf = appendUpdate(n.buf, r.update)
		if r.times++; r.times < limit {
			n.rumors = append(n.rumors, *r)
		}
	}
	n.rumors = slices.Delete(n.rumors, 0, count)
	// A lost message is repeated, and the socket counts errors of sending.
	_ = n.conn.SendTo(n.buf, to)
}

// Received processes a message.
func (n *node) Received(_ *udp.Conn, d udp.Datagram) {
	k, number, target, rest, err := cutHeader(d.Data)
	if err != nil {
		return // not a message of this program
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped || n.roster == nil {
		return
	}
	for len(rest) > 0 {
		var u update
		if u, rest, err = cutUpdate(rest); err != nil {
			return
		}
		n.learn(u)
	}
	switch k {
	case ping:
		n.send(ack, number, d.From, netip.AddrPort{})
	case request:
		n.number++
		n.relayed = append(n.relayed, relay{n.number, number, d.From})
		if len(n.relayed) > maxRelay {
			n.relayed = append(n.relayed[:0], n.relayed[1:]...)
		}
		n.send(ping, n.number, target, netip.AddrPort{})
	case ack:
		if number == n.probe.number {
			n.acked()
			return
		}
		for i, r := range n.relayed {
			if r.number == number {
				n.relayed = append(n.relayed[:i], n.relayed[i+1:]...)
				n.send(ack, r.theirs, r.to, netip.AddrPort{})
				return
			}
		}
	}
}

// acked ends the probe. The timer need not expire before the end of the period.
func (n *node) acked() {
	p := &n.probe
	if p.acked {
		return
	}
	p.acked, p.stage = true, len(stages)-1
	n.timer.Reset(time.Until(n.ends(p.stage)))
}
