package udptest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// String draws the network: its segments, hosts and interfaces, and the faults of their links.
func (n *Net) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	paths := n.pathsBySender()
	for _, s := range n.segments {
		fmt.Fprintf(&b, "%s\n", s.name)
		for i, ifi := range s.ifaces {
			branch, stem := tree(i == len(s.ifaces)-1)
			fmt.Fprintf(&b, "%s %s\n", branch, ifi.describe())
			for _, line := range ifi.faults(paths[ifi.host]) {
				fmt.Fprintf(&b, "%s    %s\n", stem, line)
			}
		}
	}
	nowhere := slices.DeleteFunc(slices.Clone(n.hosts), func(h *Host) bool { return len(h.ifaces) > 1 })
	if len(nowhere) > 0 {
		b.WriteString("nowhere\n")
	}
	for i, h := range nowhere {
		branch, _ := tree(i == len(nowhere)-1)
		fmt.Fprintf(&b, "%s %s%s\n", branch, h.name, h.is())
	}
	if len(n.parts) > 0 {
		fmt.Fprintf(&b, "partition: %s\n", n.partition())
	}
	return b.String()
}

// pathsBySender returns the receivers of the paths with faults, by sender, in the order of the
// hosts.
func (n *Net) pathsBySender() map[*Host][]*Host {
	paths := make(map[*Host][]*Host)
	for ends, p := range n.paths {
		if p.faults.String() != "" {
			paths[ends[0]] = append(paths[ends[0]], ends[1])
		}
	}
	for _, to := range paths {
		slices.SortFunc(to, func(a, b *Host) int { return cmp.Compare(a.id, b.id) })
	}
	return paths
}

func tree(last bool) (branch, stem string) {
	if last {
		return "└─", "  "
	}
	return "├─", "│ "
}

// describe returns the names, addresses and state of an interface and its host.
func (i *Interface) describe() string {
	s := []string{i.host.name, i.name}
	for _, p := range i.addrs {
		if p.Bits() == 0 {
			s = append(s, p.Addr().String())
		} else {
			s = append(s, p.String())
		}
	}
	text := strings.Join(s, " ")
	s = []string{"gateways"}
	for _, g := range i.host.gateways {
		if i.host.onLink(g) == i {
			s = append(s, g.String())
		}
	}
	switch len(s) {
	case 1:
	case 2:
		text += fmt.Sprintf(" (gateway %s)", s[1])
	default:
		text += fmt.Sprintf(" (%s)", strings.Join(s, " "))
	}
	text += i.host.is()
	if t := i.host.nat; t != nil && t.outside == i {
		text += fmt.Sprintf(" (NAT: mapping %v, filtering %v)", t.Mapping, t.Filtering)
	}
	if i.down {
		text += " (down)"
	}
	return text
}

// is returns the properties of a host, in parentheses.
func (h *Host) is() (text string) {
	if h.forwards {
		text += " (router)"
	}
	if h.down {
		text += " (crashed)"
	}
	if h.paused.Load() {
		text += " (paused)"
	}
	return text
}

// faults describes the faults of an interface's link and of the paths to other hosts of its
// segment. With the host's first interface come those of its loopback interface.
func (i *Interface) faults(to []*Host) (lines []string) {
	h := i.host
	pipes := []*Pipe{&i.out, &i.in}
	if i == h.ifaces[1] {
		pipes = append(pipes, &h.lo.out, &h.lo.in)
	}
	for _, p := range pipes {
		if f := p.faults.String(); f != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", strings.TrimPrefix(p.name, h.name+" "), f))
		}
	}
	for _, other := range to {
		if i.seg.has(other) {
			lines = append(lines, fmt.Sprintf("to %s: %s", other.name, h.net.paths[[2]*Host{h, other}].faults.String()))
		}
	}
	return lines
}

// partition returns the names of the hosts in each group.
func (n *Net) partition() string {
	last, others := 0, false
	for _, side := range n.parts {
		last = max(last, side)
	}
	sides := make([][]string, last+1)
	for _, h := range n.hosts {
		if side, named := n.parts[h]; named {
			sides[side] = append(sides[side], h.name)
		} else {
			others = true
		}
	}
	var s []string
	for _, names := range sides {
		if len(names) > 0 {
			s = append(s, strings.Join(names, " "))
		}
	}
	if others {
		s = append(s, "the others")
	}
	return strings.Join(s, " | ")
}
