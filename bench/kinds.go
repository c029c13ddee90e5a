package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// The kinds of measurement.
const (
	receive = "receive" // datagrams received per second
	send    = "send"    // datagrams sent per second
	echo    = "echo"    // replies per second, 1,024 datagrams outstanding
	workers = "workers" // the same from 16 peers, for Workers
	relay   = "relay"   // the same, received on one socket and sent on another
	peers   = "peers"   // 40,000 queued datagrams of 64 peers, nothing coalesced
	ping    = "ping"    // round trips, one datagram outstanding
	burst   = "burst"   // 65 requests at once, 5 ms of work each
	dial    = "dial"    // sockets opened and closed
	idle    = "idle"    // memory of sockets that have received once
)

// A kind has a table for each size and placement, with a row for each entry.
type kind struct {
	Name, Heading, Note string
	Sizes               []int
	Sources             []string // senders of receive: with UDP_SEGMENT or without
	Bases               []string // the entries that the ratios are to
	Metrics             []metric
	Both                bool // also measured with every program on both cores
	Entries             []entry
}

// An entry is a program, or one way to use it: a row of a table.
type entry struct {
	Name    string // short, for flags and the terminal
	Label   string // for the document
	Program string
	Variant string
}

// The programs.
const (
	ref     = "ref"
	peer    = "peer"
	basic   = "peer-basic" // built with -tags udpbasic
	libuv   = "libuv"
	asyncio = "asyncio_peer.py"
	twisted = "twisted_peer.py"
)

var (
	allSizes = []int{64, 512, 1200, 8192}
	twoSizes = []int{64, 1200}
	oneSize  = []int{64}
)

// echoEntries lists package udp first, then C, then other Go programs, then the rest.
var echoEntries = []entry{
	{"udp", "udp, Handler and Reply", peer, "callback"},
	{"udp-queue", "udp, Queue and Reply", peer, "queue"},
	{"udp-packetconn", "udp PacketConn, ReadFromUDPAddrPort loop", peer, "packetconn"},
	{"udp-basic", "udp, Handler and Reply, portable path", basic, "callback"},
	{"c-gro", "C recvmmsg, sendmmsg, UDP_GRO, UDP_SEGMENT", ref, "gro"},
	{"c-recvmmsg", "C recvmmsg, sendmmsg", ref, "recvmmsg"},
	{"c-recvfrom", "C recvfrom, sendto", ref, "recvfrom"},
	{"net", "net ReadFromUDPAddrPort loop", peer, "net"},
	{"xnet", "x/net ReadBatch, WriteBatch", peer, "xnet"},
	{"wireguard", "WireGuard's conn", peer, "wireguard"},
	{"libuv", "libuv with recvmmsg", libuv, "loop"},
	{"twisted", "Twisted", twisted, "reactor"},
	{"asyncio", "asyncio", asyncio, "loop"},
}

var kinds = []kind{
	{
		Name: receive, Heading: "Receiving", Both: true,
		Note:  "Where the kernel dropped nothing (✓) the rate is the sender's: compare CPU time there.",
		Sizes: allSizes, Sources: []string{"gso", "plain"}, Bases: []string{"c-gro", "net"}, Metrics: []metric{rateOf, cpuOf},
		Entries: []entry{
			{"udp", "udp, Handler", peer, "callback"},
			{"udp-queue", "udp, Queue and Release", peer, "queue"},
			{"udp-queue4", "udp, Queue, 4 consumers", peer, "queue4"},
			{"udp-packetconn", "udp PacketConn, ReadFrom", peer, "packetconn"},
			{"udp-receive", "udp PacketConn, Receive", peer, "receive"},
			{"udp-basic", "udp, Handler, portable path", basic, "callback"},
			{"c-gro", "C recvmmsg and UDP_GRO", ref, "gro"},
			{"c-recvmmsg", "C recvmmsg", ref, "recvmmsg"},
			{"c-recvfrom", "C recvfrom", ref, "recvfrom"},
			{"net", "net ReadFromUDPAddrPort", peer, "net"},
			{"net-from", "net ReadFrom", peer, "netfrom"},
			{"net-chan", "net ReadFrom, make, chan", peer, "netchan"},
			{"net-chan4", "net ReadFrom, make, chan, 4 consumers", peer, "netchan4"},
			{"xnet", "x/net ReadBatch", peer, "xnet"},
			{"wireguard", "WireGuard's conn", peer, "wireguard"},
			{"libuv", "libuv with recvmmsg", libuv, "loop"},
			{"twisted", "Twisted", twisted, "reactor"},
			{"asyncio", "asyncio", asyncio, "loop"},
		},
	},
	{
		Name: send, Heading: "Sending", Both: true,
		Sizes: allSizes, Bases: []string{"c-gso", "net"}, Metrics: []metric{rateOf, cpuOf},
		Entries: []entry{
			{"udp-batch", "udp SendBatch, a buffer each", peer, "sendbatch"},
			{"udp-batch-conn", "udp SendBatch, connected, a buffer each", peer, "sendbatchconn"},
			{"udp-batch-flat", "udp SendBatch, connected, one buffer", peer, "sendbatchflat"},
			{"udp-sendto", "udp SendTo", peer, "sendto"},
			{"udp-send", "udp Send, connected", peer, "send"},
			{"udp-basic", "udp SendTo, portable path", basic, "sendto"},
			{"c-gso", "C send and UDP_SEGMENT, connected, one buffer", ref, "gso"},
			{"c-gso-iov", "C sendmsg and UDP_SEGMENT, connected, a buffer each", ref, "gso-iov"},
			{"c-gso-to", "C sendmsg and UDP_SEGMENT, a buffer each", ref, "gso-to"},
			{"c-sendmmsg", "C sendmmsg", ref, "sendmmsg"},
			{"c-sendto", "C sendto", ref, "sendto"},
			{"net", "net WriteToUDPAddrPort", peer, "net"},
			{"xnet", "x/net WriteBatch", peer, "xnet"},
			{"wireguard", "WireGuard's conn", peer, "wireguard"},
		},
	},
	{
		Name: echo, Heading: "Echo: 1,024 datagrams outstanding, from a client with UDP_SEGMENT", Both: true,
		Note:  "At 8,192 bytes 256 are outstanding, as many as the sockets' buffers have room for.",
		Sizes: allSizes, Bases: []string{"c-gro", "net"}, Metrics: []metric{rateOf, cpuOf}, Entries: echoEntries,
	},
	{
		Name: workers, Heading: "Echo of 16 peers: 64 datagrams of each outstanding", Both: true,
		Note:  "Workers keep the order of each peer, so one peer would keep one worker busy.",
		Sizes: twoSizes, Bases: []string{"c-gro", "net"}, Metrics: []metric{rateOf, cpuOf},
		Entries: append([]entry{{"udp-workers", "udp, two Workers and Reply", peer, "workers"}}, pick(echoEntries,
			"udp", "udp-queue", "c-gro", "net", "xnet")...),
	},
	{
		Name: relay, Heading: "Relay: receive on one socket, send on another, 1,024 datagrams outstanding", Both: true,
		Sizes: twoSizes, Bases: []string{"c-gro", "net"}, Metrics: []metric{rateOf, cpuOf},
		Entries: []entry{
			{"udp", "udp, Handler and Enqueue", peer, "callback"},
			{"udp-queue", "udp, Queue and Enqueue", peer, "queue"},
			{"udp-basic", "udp, Handler and Enqueue, portable path", basic, "callback"},
			{"c-gro", "C recvmmsg, sendmmsg, UDP_GRO, UDP_SEGMENT", ref, "gro"},
			{"c-recvmmsg", "C recvmmsg, sendmmsg", ref, "recvmmsg"},
			{"net", "net ReadFromUDPAddrPort, WriteToUDPAddrPort", peer, "net"},
			{"xnet", "x/net ReadBatch, WriteBatch", peer, "xnet"},
		},
	},
	{
		Name: peers, Heading: "Draining 40,000 queued datagrams of 64 peers, nothing coalesced", Both: true,
		Note:  "The receiver is stopped while they are sent, and then continues.",
		Sizes: oneSize, Bases: []string{"c-recvmmsg", "xnet"}, Metrics: []metric{rateOf, cpuOf},
		Entries: []entry{
			{"udp", "udp, Handler", peer, "callback"},
			{"udp-queue", "udp, Queue and Release", peer, "queue"},
			{"udp-basic", "udp, Handler, portable path", basic, "callback"},
			{"c-recvmmsg", "C recvmmsg", ref, "recvmmsg"},
			{"c-gro", "C recvmmsg and UDP_GRO", ref, "gro"},
			{"net", "net ReadFromUDPAddrPort", peer, "net"},
			{"xnet", "x/net ReadBatch", peer, "xnet"},
		},
	},
	{
		Name: ping, Heading: "Round trips: one datagram outstanding", Both: true,
		Sizes: allSizes, Bases: []string{"c-recvfrom", "net"}, Entries: echoEntries,
		Metrics: []metric{{Title: "p50 µs", value: p50, Ratios: true}, {Title: "p99 µs", value: p99, Ratios: true},
			{Title: "p99.9 µs", value: p999}, {Title: "CPU ns each", value: cpuEach, Ratios: true}},
	},
	{
		Name: burst, Heading: "65 requests at once, each with 5 ms of work", Both: true,
		Note: "Reply 31 can be sent after 155 ms at the earliest, with two Workers of one peer too. The delay of a reply is from\n" +
			"the end of its handler's work until the kernel has it for the client.",
		Sizes: oneSize, Bases: []string{"net"},
		Metrics: []metric{{Title: "reply 31, ms", value: reply31, Ratios: true}, {Title: "median delay µs", value: p50, Ratios: true},
			{Title: "longest delay µs", value: longest, Ratios: true}},
		Entries: append(pick(echoEntries, "udp", "udp-queue"), entry{"udp-workers", "udp, two Workers and Reply", peer, "workers"},
			entry{"c-recvfrom", "C recvfrom, sendto", ref, "recvfrom"}, entry{"net", "net ReadFromUDPAddrPort loop", peer, "net"}),
	},
	{
		Name: dial, Heading: "Dial and Close", Both: true,
		Sizes: oneSize, Bases: []string{"c-gro", "net"},
		Metrics: []metric{{Title: "µs each", value: each, Ratios: true}, {Title: "CPU ns each", value: cpuEach, Ratios: true}},
		Entries: []entry{
			{"udp", "udp Dial, Close, Done", peer, "callback"},
			{"udp-beside", "udp Dial, Close, Done, another socket is open", peer, "beside"},
			{"udp-basic", "udp Dial, Close, Done, portable path", basic, "callback"},
			{"c", "C socket, connect, close", ref, "plain"},
			{"c-gro", "C socket, connect, UDP_GRO, close", ref, "gro"},
			{"net", "net Dial, Close", peer, "net"},
			{"net-reader", "net Dial, a goroutine that reads, Close", peer, "reader"},
		},
	},
	{
		Name: idle, Heading: "Memory of sockets that have received one datagram and wait",
		Sizes: oneSize, Bases: []string{"net"},
		Metrics: []metric{{Title: "bytes per socket, heap and stacks", value: memoryOf, Ratios: true},
			{Title: "bytes per socket, resident", value: resident, Ratios: true}},
		Entries: []entry{
			{"udp", "udp, Handler", peer, "callback"},
			{"udp-basic", "udp, Handler, portable path", basic, "callback"},
			{"net", "net, a goroutine and 2 KiB each", peer, "net"},
		},
	},
}

// pick returns the entries with these names.
func pick(es []entry, names ...string) (picked []entry) {
	for _, e := range es {
		if slices.Contains(names, e.Name) {
			picked = append(picked, e)
		}
	}
	return picked
}

// kindOf finds a kind by its name.
func kindOf(name string) (kind, bool) {
	for _, k := range kinds {
		if k.Name == name {
			return k, true
		}
	}
	return kind{}, false
}

// kind returns the kind of c.
func (c Case) kind() kind {
	k, _ := kindOf(c.Kind)
	return k
}

// entry returns the entry of c.
func (c Case) entry() entry {
	for _, e := range c.kind().Entries {
		if e.Name == c.Entry {
			return e
		}
	}
	return entry{Name: c.Entry, Label: c.Entry}
}

// to returns the case of another entry that c is compared with.
func (c Case) to(name string) Case {
	c.Entry = name
	return c
}

// cases returns the cases of a kind in a whole run, with one core per process or with both for
// all. Both cores are for the programs in Go, which use them, and for those they are compared with.
func (k kind) cases(sizes []int, cores int) (cs []Case) {
	sources := k.Sources
	if len(sources) == 0 {
		sources = []string{""}
	}
	if cores > 1 && !k.Both {
		return nil
	}
	for _, size := range sizes {
		for _, source := range sources {
			for _, e := range k.Entries {
				if cores == 1 || e.inGo() || slices.Contains(k.Bases, e.Name) {
					cs = append(cs, Case{Kind: k.Name, Source: source, Size: size, Cores: cores, Entry: e.Name})
				}
			}
		}
	}
	return cs
}

// sizes returns the payload sizes of a whole run.
func (k kind) sizes(cores int) []int {
	if cores > 1 && len(k.Sizes) > len(twoSizes) {
		return twoSizes
	}
	return k.Sizes
}

// ours reports whether the entry is package udp.
func (e entry) ours() bool { return strings.HasPrefix(e.Name, "udp") }

func (e entry) inGo() bool { return e.Program == peer || e.Program == basic }

// command is the command line that starts the entry of c in role.
func (s *settings) command(c Case, role string) []string {
	e := c.entry()
	switch e.Program {
	case asyncio, twisted:
		return []string{s.python, filepath.Join("python", e.Program), role, e.Variant}
	}
	line := []string{filepath.Join(s.bin, e.Program), role, e.Variant}
	if e.inGo() && s.profiles != "" {
		line = append(line, fmt.Sprintf("profile=%s/%s-%s%s-%d-%d.prof", s.profiles, c.Kind, c.Entry, c.Source, c.Size, c.Cores))
	}
	return line
}
