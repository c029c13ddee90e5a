package main

import (
	"math"
	"net/netip"
	"time"
)

// A status is what a node knows about a member.
type status struct {
	incarnation uint32
	state       state
}

type suspicion struct {
	of       update
	deadline time.Time
}

type rumor struct {
	update
	times int // sent
}

// learn processes a piece of news, from another node or from this one.
func (n *node) learn(u update) {
	if u.member == n.self {
		if u.state != alive && u.incarnation >= n.incarnation {
			n.incarnation = u.incarnation + 1
			n.spread(update{n.self, n.incarnation, alive})
		}
		return
	}
	i, known := n.index(u.member)
	var was status
	if known {
		was = n.changed[i]
	}
	old := update{u.member, was.incarnation, was.state}
	if !u.news(old) {
		return
	}
	if !known {
		i = int32(n.members())
		if n.numbers == nil {
			n.numbers = make(map[netip.AddrPort]int32)
		}
		n.numbers[u.member] = i
		n.joined = append(n.joined, u.member)
	}
	n.changed[i] = status{u.incarnation, u.state}
	n.spread(u)
	if u.state == suspect {
		n.suspects = append(n.suspects, suspicion{u, time.Now().Add(n.suspicionTimeout())})
	}
	if n.onNews != nil {
		n.onNews(n, u, old.state)
	}
}

// suspicionTimeout returns how long a suspicion lasts. The news must reach the suspect and its
// contradiction must return, so it grows with the logarithm of the number of members.
func (n *node) suspicionTimeout() time.Duration {
	return time.Duration(6 * math.Max(1, math.Log10(float64(n.members()))) * float64(n.period))
}

// spread puts a piece of news before all others, and removes the news that it replaces.
func (n *node) spread(u update) {
	for i, r := range n.rumors {
		if r.member == u.member {
			n.rumors = append(n.rumors[:i], n.rumors[i+1:]...)
			break
		}
	}
	n.rumors = append(n.rumors, rumor{})
	copy(n.rumors[1:], n.rumors)
	n.rumors[0] = rumor{update: u}
}
