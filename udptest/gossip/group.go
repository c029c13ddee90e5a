package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// settings are the values of the flags.
type settings struct {
	nodes  int
	length time.Duration
	period time.Duration
	loss   float64
	seed   uint64
	svg    string
	real   bool
}

// A group runs the nodes, and observes how the news of a crash and of a new member spreads.
type group struct {
	settings
	open func(i int) (*node, error) // opens the socket of the node with this number
	kill func(i int)                // crashes its host; nil: closes the socket

	nodes []*node
	crash *spread
	join  *spread

	mu        sync.Mutex
	suspicion int // of nodes that are alive
	buried    int // nodes that are alive and were believed dead
}

func newGroup(s settings) *group {
	return &group{settings: s, crash: newSpread("a crash is suspected"), join: newSpread("a new member is known")}
}

// A spread records how many nodes have received a piece of news, and when.
type spread struct {
	name string

	mu      sync.Mutex
	began   time.Time
	about   netip.AddrPort
	state   state          // or a worse one
	besides netip.AddrPort // a node that does not count: it has crashed, or had not joined
	heard   map[*node]bool
	after   []time.Duration // in order
}

func newSpread(name string) *spread { return &spread{name: name, heard: make(map[*node]bool)} }

func (s *spread) note(n *node, u update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began.IsZero() && n.self != s.besides && u.member == s.about && u.state >= s.state && !s.heard[n] {
		s.heard[n] = true
		s.after = append(s.after, time.Since(s.began))
	}
}

func (s *spread) begin(about netip.AddrPort, st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.about, s.state, s.began = about, st, time.Now()
}

func (s *spread) isAbout(m netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.about == m
}

func (s *spread) leaveOut(m netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.besides = m
}

// known returns how many nodes have received the news.
func (s *spread) known() (many int, began bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.after), !s.began.IsZero()
}

// reached returns how long it took until a share of the nodes had received the news.
func (s *spread) reached(share float64, of int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := int(share*float64(of)+0.5) - 1
	if i >= len(s.after) || len(s.after) == 0 {
		return "never"
	}
	return s.after[max(i, 0)].Round(time.Millisecond).String()
}

// run runs the group: after a quarter of the time one node crashes, and after half of it
// another joins. It reports at the end, or when ctx ends.
func (g *group) run(ctx context.Context, stdout io.Writer) error {
	defer func() {
		for _, n := range g.nodes {
			n.stop()
		}
	}()
	for i := range g.settings.nodes {
		if _, err := g.add(i); err != nil {
			return err
		}
	}
	all := newRoster(g.nodes)
	for _, n := range g.nodes {
		n.start(all, false)
	}
	began := time.Now()
	// A quarter of an instant early, so as not to race: datagrams arrive at whole instants
	// and nodes send at half instants.
	until := func(d time.Duration) (interrupted bool) {
		select {
		case <-time.After(time.Until(began.Add(d.Truncate(instant) - instant/4))):
			return false
		case <-ctx.Done():
			return true
		}
	}
	if until(g.length / 4) {
		return g.report(time.Since(began), stdout)
	}

	victim := len(g.nodes) / 2
	g.crash.begin(g.nodes[victim].self, suspect)
	if g.kill != nil {
		g.kill(victim)
	}
	g.nodes[victim].stop()
	if until(g.length / 2) {
		return g.report(time.Since(began), stdout)
	}

	late, err := g.add(g.settings.nodes)
	if err != nil {
		return err
	}
	g.join.begin(late.self, alive)
	g.crash.leaveOut(late.self)
	late.start(all, true)
	if until(g.length) {
		return g.report(time.Since(began), stdout)
	}
	return g.report(g.length, stdout)
}

// add opens a node that reports its news to the group.
func (g *group) add(i int) (*node, error) {
	n, err := g.open(i)
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", i, err)
	}
	n.onNews = g.onNews
	g.nodes = append(g.nodes, n)
	return n, nil
}

func (g *group) onNews(n *node, u update, _ state) {
	g.crash.note(n, u)
	g.join.note(n, u)
	if u.state == alive || g.crash.isAbout(u.member) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if u.state == suspect {
		g.suspicion++
	} else {
		g.buried++
	}
}

// report writes how the news has spread in that time.
func (g *group) report(length time.Duration, stdout io.Writer) error {
	others := g.settings.nodes - 1
	var sum udp.Stats
	for _, n := range g.nodes {
		s := n.conn.Stats()
		sum.Sent += s.Sent
		sum.SentBytes += s.SentBytes
		sum.Received += s.Received
	}
	joined := ""
	if len(g.nodes) > g.settings.nodes {
		joined = " and one that joined"
	}
	fmt.Fprintf(stdout, "%d nodes%s, %v, %d datagrams sent (%d bytes), %d received\n",
		g.settings.nodes, joined, length.Round(time.Millisecond), sum.Sent, sum.SentBytes, sum.Received)
	for _, s := range []*spread{g.crash, g.join} {
		if known, began := s.known(); began {
			fmt.Fprintf(stdout, "%s: known to %d of %d; the first after %s, half %s, 99%% %s, all %s\n", s.name,
				known, others, s.reached(0, others), s.reached(0.5, others), s.reached(0.99, others), s.reached(1, others))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(stdout, "suspicions of living nodes: %.1f a node; believed dead: %d times\n",
		float64(g.suspicion)/float64(len(g.nodes)), g.buried)
	if g.svg == "" {
		return nil
	}
	return writePlot(g.svg, others, g.crash, g.join)
}

// curve returns the share of nodes with the news as points of time and share.
func (s *spread) curve(of int) (points [][2]float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.after)
	for i, at := range s.after {
		points = append(points, [2]float64{at.Seconds(), float64(i+1) / float64(of)})
	}
	return points
}
