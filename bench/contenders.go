package main

import (
	"fmt"
	"path/filepath"
)

// What is measured.
const (
	receive = "receive" // datagrams taken in a second
	send    = "send"    // datagrams given to the kernel in a second
	flood   = "flood"   // datagrams a second answered, 1,024 outstanding
	ping    = "ping"    // round trips, one outstanding
	idle    = "idle"    // memory of sockets that have received once
)

// A contender is a program that is measured, or one way to use it.
type contender struct {
	Name    string // short, for flags and tables
	Label   string // for people
	Program string
	Way     string
}

const (
	ref     = "ref"
	peer    = "peer"
	basic   = "peer-basic" // built with -tags udpbasic
	libuv   = "libuv"
	asyncio = "asyncio_peer.py"
	twisted = "twisted_peer.py"
)

// contenders lists ours first, then C, then Go's, then others'.
var contenders = map[string][]contender{
	receive: {
		{"udp", "udp, handler", peer, "callback"},
		{"udp-queue", "udp, Queue and Release", peer, "queue"},
		{"udp-queue4", "udp, Queue, 4 workers", peer, "queue4"},
		{"udp-basic", "udp, handler, portable path", basic, "callback"},
		{"c-gro", "C recvmmsg and UDP_GRO", ref, "gro"},
		{"c-recvmmsg", "C recvmmsg", ref, "recvmmsg"},
		{"c-recvfrom", "C recvfrom", ref, "recvfrom"},
		{"net", "net ReadFromUDPAddrPort", peer, "net"},
		{"net-chan", "net ReadFrom, make, chan", peer, "netchan"},
		{"net-chan4", "net ReadFrom, make, chan, 4 workers", peer, "netchan4"},
		{"xnet", "x/net ReadBatch", peer, "xnet"},
		{"wireguard", "WireGuard's conn", peer, "wireguard"},
		{"libuv", "libuv with recvmmsg", libuv, "loop"},
		{"twisted", "Twisted", twisted, "reactor"},
		{"asyncio", "asyncio", asyncio, "loop"},
	},
	send: {
		{"udp-batch", "udp SendBatch, a buffer each", peer, "sendbatch"},
		{"udp-batch-conn", "udp SendBatch, connected, a buffer each", peer, "sendbatchconn"},
		{"udp-batch-flat", "udp SendBatch, connected, side by side", peer, "sendbatchflat"},
		{"udp-sendto", "udp SendTo", peer, "sendto"},
		{"udp-send", "udp Send, connected", peer, "send"},
		{"udp-basic", "udp SendTo, portable path", basic, "sendto"},
		{"c-gso", "C send and UDP_SEGMENT, connected, side by side", ref, "gso"},
		{"c-gso-iov", "C sendmsg and UDP_SEGMENT, connected, a buffer each", ref, "gso-iov"},
		{"c-gso-to", "C sendmsg and UDP_SEGMENT, a buffer each", ref, "gso-to"},
		{"c-sendmmsg", "C sendmmsg", ref, "sendmmsg"},
		{"c-sendto", "C sendto", ref, "sendto"},
		{"net", "net WriteToUDPAddrPort", peer, "net"},
		{"xnet", "x/net WriteBatch", peer, "xnet"},
		{"wireguard", "WireGuard's conn", peer, "wireguard"},
	},
	flood: echoes,
	ping:  echoes,
	idle: {
		{"udp", "udp, handler", peer, "callback"},
		{"net", "net, goroutine and 2 KiB each", peer, "net"},
	},
}

var echoes = []contender{
	{"udp", "udp, handler and Reply", peer, "callback"},
	{"udp-queue", "udp, Queue and Reply", peer, "queue"},
	{"udp-basic", "udp, handler and Reply, portable path", basic, "callback"},
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

// find returns the contender of c.
func (c Case) find() contender {
	for _, k := range contenders[c.Kind] {
		if k.Name == c.Who {
			return k
		}
	}
	return contender{Name: c.Who, Label: c.Who}
}

// ours says whether the contender is package udp.
func (k contender) ours() bool { return len(k.Name) >= 3 && k.Name[:3] == "udp" }

// command is what starts the contender of c in role.
func (s *settings) command(c Case, role string) []string {
	k := c.find()
	switch k.Program {
	case asyncio, twisted:
		return []string{s.python, filepath.Join("python", k.Program), role, k.Way}
	}
	line := []string{filepath.Join(s.bin, k.Program), role, k.Way}
	if (k.Program == peer || k.Program == basic) && s.profiles != "" {
		line = append(line, fmt.Sprintf("profile=%s/%s-%s%s-%d.prof", s.profiles, c.Kind, c.Who, c.Source, c.Size))
	}
	return line
}
