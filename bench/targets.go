package main

import "fmt"

// A target is one that the library has set itself: a ratio of ours to another,
// at least or at most.
type target struct {
	What    string
	ours    Case
	other   string
	by      value
	bound   float64
	atMost  bool
	reached float64 // the ratio measured; 0 when it was not
}

func (t target) String() string {
	return fmt.Sprintf("%-11s %s: %s, wanted %s", t.verdict(), t.What, ratio(t.reached), t.wanted())
}

func (t target) wanted() string {
	if t.atMost {
		return fmt.Sprintf("at most %g", t.bound)
	}
	return fmt.Sprintf("at least %g", t.bound)
}

func (t target) verdict() string {
	switch {
	case t.reached == 0:
		return "not run"
	case t.atMost && t.reached <= t.bound, !t.atMost && t.reached >= t.bound:
		return "reached"
	}
	return "NOT REACHED"
}

// targets are those that this run has figures for.
func (r *record) targets() []target {
	var ts []target
	least := func(what string, ours Case, other string, bound float64) {
		ts = append(ts, target{What: what, ours: ours, other: other, by: rate, bound: bound})
	}
	most := func(what string, ours Case, other string, by value, bound float64) {
		ts = append(ts, target{What: what, ours: ours, other: other, by: by, bound: bound, atMost: true})
	}
	for _, size := range []int{64, 1200} {
		at := fmt.Sprintf(", %d bytes", size)
		fast := Case{Kind: receive, Source: "gso", Size: size, Who: "udp"}
		plain := Case{Kind: receive, Source: "plain", Size: size, Who: "udp"}
		echo := Case{Kind: flood, Size: size, Who: "udp"}
		trip := Case{Kind: ping, Size: size, Who: "udp"}
		batch := Case{Kind: send, Size: size, Who: "udp-batch"}
		conn, flat := batch, batch
		conn.Who, flat.Who = "udp-batch-conn", "udp-batch-flat"
		least("receive by handler, to C recvmmsg and UDP_GRO"+at, fast, "c-gro", 0.9)
		if size == 64 {
			queue := fast
			queue.Who = "udp-queue"
			least("receive by handler, to net"+at, fast, "net", 15)
			least("receive by handler, to WireGuard's conn"+at, fast, "wireguard", 1.5)
			least("receive by Queue, to net ReadFrom, make, chan"+at, queue, "net-chan", 10)
		}
		portable := Case{Kind: receive, Source: "gso", Size: size, Who: "udp-basic"}
		least("receive on the portable path, to net"+at, portable, "net", 0.9)
		most("CPU a datagram from a plain sender, to net"+at, plain, "net", cpuEach, 1)
		least("SendBatch, to C sendmsg and UDP_SEGMENT, a buffer each"+at, batch, "c-gso-to", 0.9)
		least("SendBatch, to C sendmsg and UDP_SEGMENT, connected, a buffer each"+at, conn, "c-gso-iov", 0.9)
		least("SendBatch, to C send and UDP_SEGMENT, connected, side by side"+at, flat, "c-gso", 0.9)
		least("SendBatch, to net WriteToUDPAddrPort"+at, batch, "net", 20)
		least("echo under flood, to C"+at, echo, "c-gro", 0.7)
		least("echo under flood, to net"+at, echo, "net", 30)
		least("echo with 1 outstanding, to net"+at, trip, "net", 1)
		trip.Who = "udp-basic"
		least("echo with 1 outstanding on the portable path, to net"+at, trip, "net", 0.9)
		trip.Who = "udp"
		most("round trip p50, to net"+at, trip, "net", p50, 1.05)
		most("round trip p99, to net"+at, trip, "net", p99, 1.05)
	}
	most("memory of an idle socket, to net", Case{Kind: idle, Size: 64, Who: "udp"}, "net", memory, 1.5)
	most("resident memory of an idle socket, to net", Case{Kind: idle, Size: 64, Who: "udp"}, "net", resident, 1.5)

	run := ts[:0]
	for _, t := range ts {
		base := t.ours
		base.Who = t.other
		if t.reached = r.ratio(t.ours, base, t.by); t.reached > 0 {
			run = append(run, t)
		}
	}
	return run
}
