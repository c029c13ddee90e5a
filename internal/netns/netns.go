// Package netns gives tests network namespaces of their own (Linux,
// network_namespaces(7)), so that they can have interfaces, addresses, routes
// and firewalls without touching the host's. Only tests import it.
//
// A test wraps what needs namespaces in [Run], or in [Isolated] if every
// goroutine has to be inside one:
//
//	netns.Run(t, func() {
//		here, there := netns.New(t), netns.New(t)
//		netns.Veth(t, here, "left", there, "right")
//		here.Addr("left", "192.0.2.1/24")
//		there.Addr("right", "192.0.2.2/24")
//		here.Do(func() { server, err = udp.Listen(…) })
//		there.Do(func() { client, err = udp.Dial(…) })
//	})
//
// A socket stays in the namespace in which it was made, whoever uses it. Other
// calls, such as looking up an interface by name, use the namespace of the thread
// that the goroutine happens to run on. Isolated is for tests that make such calls.
package netns

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// NS is a network namespace. It lives until the test that made it ends.
type NS struct {
	t     testing.TB
	fd    int           // of the namespace
	veths *atomic.Int64 // ends of cables in it, shared by every NS of the namespace
}

// IP runs ip(8) inside n, with the words of args, and returns what it printed.
// The test fails when ip does.
func (n *NS) IP(args string) string {
	n.t.Helper()
	return n.Command("ip", strings.Fields(args)...)
}

// Addr adds addresses with their prefix lengths to an interface. IPv6 addresses are usable at
// once, without duplicate address detection. They skip the test if the kernel has no IPv6.
func (n *NS) Addr(ifname string, prefixes ...string) {
	n.t.Helper()
	for _, prefix := range prefixes {
		n.addr(ifname, prefix)
	}
}

func (n *NS) addr(ifname, prefix string) {
	n.t.Helper()
	if !strings.Contains(prefix, ":") {
		n.IP("addr add " + prefix + " dev " + ifname)
		return
	}
	n.needIPv6()
	n.IP("addr add " + prefix + " nodad dev " + ifname)
	// Linux adds the route to an IPv6 address a little later (addrconf_dad_work in
	// net/ipv6/addrconf.c). Until then datagrams of the host to itself leave it.
	address, _, _ := strings.Cut(prefix, "/")
	missing := func() bool { return n.IP("-6 route show table local "+address+" dev "+ifname) == "" }
	if missing() {
		n.needRoutes()
	}
	n.await(func() error {
		if missing() {
			return fmt.Errorf("%s is not local to %s", address, ifname)
		}
		return nil
	})
}

// Veth connects two namespaces, or one with itself, by a virtual cable: an
// interface in each, both up and running. They have no addresses, not even
// link-local ones: see [NS.Addr].
func Veth(t testing.TB, a *NS, aName string, b *NS, bName string) {
	t.Helper()
	// Linux delays events of a link by up to a second if its two ends have the same
	// index (linkwatch_urgent_event in net/core/link_watch.c), which ends in two
	// namespaces easily have. So choose different ones.
	aIndex := 999 + 2*a.veths.Add(1)
	bIndex := 1000 + 2*b.veths.Add(1)
	a.veth(aName, int(aIndex), b, bName, int(bIndex))
	for _, end := range []struct {
		ns   *NS
		name string
	}{{a, aName}, {b, bName}} {
		// A link-local address that the kernel adds is tentative for a second or two.
		end.ns.IP("link set " + end.name + " addrgenmode none")
		end.ns.IP("link set " + end.name + " up")
	}
	a.AwaitRunning(aName)
	b.AwaitRunning(bName)
}
