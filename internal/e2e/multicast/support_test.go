package multicast_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// member is a MulticastConn in a namespace, with what it receives.
type member struct {
	*udp.MulticastConn
	ns      *netns.NS
	queue   *udp.Queue
	changes chan udp.Membership // of OnMembership
}

// joinIn opens a member in ns that listens on address.
func joinIn(t testing.TB, ns *netns.NS, cfg udp.Config, network, address string, groups ...netip.Addr) *member {
	t.Helper()
	m := &member{ns: ns, queue: udp.NewQueue(10_000, udp.Block), changes: make(chan udp.Membership, 10_000)}
	cfg.OnMembership = func(_ *udp.MulticastConn, changed udp.Membership) { m.changes <- changed }
	var err error
	ns.Do(func() { m.MulticastConn, err = cfg.ListenMulticast(t.Context(), network, address, m.queue, groups...) })
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, m.MulticastConn)
	return m
}

func (m *member) port() uint16 { return m.LocalAddrPort().Port() }

// await waits until OnMembership has reported what is wanted, and that is still the state. It
// skips earlier reports that nobody has waited for.
func (m *member) await(t testing.TB, want string, is func(udp.Membership) bool) udp.Membership {
	t.Helper()
	stands := func(changed udp.Membership) bool {
		return slices.ContainsFunc(m.Memberships(), func(now udp.Membership) bool {
			return now.Group == changed.Group && now.Source == changed.Source && fmt.Sprint(now) == fmt.Sprint(changed)
		}) && !slices.ContainsFunc(changed.On, func(on udp.InterfaceMembership) bool {
			return on.Err == nil && !exists(m.ns, on) // the monitor has not noticed the removal yet
		})
	}
	for timeout := time.After(sockettest.Patience); ; {
		select {
		case changed := <-m.changes:
			if is(changed) && stands(changed) {
				return changed
			}
		case <-timeout:
			require.FailNow(t, "never "+want, "%+v\n%s", m.Memberships(), m.ns.IP("-d addr"))
		}
	}
}

// seesAll waits until the monitor has seen all that has happened to the interfaces. Of those
// the membership is joined on eth only.
func (m *member) seesAll(t testing.TB) {
	t.Helper()
	netns.Veth(t, m.ns, "last", m.ns, "end")
	m.ns.Addr("last", "198.51.100.1/24", "2001:db8:1::1/64")
	m.await(t, "joined on the last", heldOn("eth", "last"))
	m.ns.IP("link del last")
	m.await(t, "left the last", heldOn("eth"))
}

// exists reports whether an interface of that name still is the one of a membership.
func exists(ns *netns.NS, on udp.InterfaceMembership) (yes bool) {
	ns.Do(func() {
		ifi, err := net.InterfaceByName(on.Name)
		yes = err == nil && ifi.Index == on.Index
	})
	return yes
}

// heldOn reports whether a membership is joined on exactly the named interfaces.
func heldOn(names ...string) func(udp.Membership) bool {
	return func(m udp.Membership) bool {
		var held []string
		for _, on := range m.On {
			if on.Err == nil {
				held = append(held, on.Name)
			}
		}
		return fmt.Sprint(held) == fmt.Sprint(names)
	}
}

// hears sends to the group until m receives one of these datagrams. It sends at a fixed pace, or
// on a slow machine they would pile up.
func hears(t testing.TB, m *member, from *member, group netip.Addr, ifname string) {
	t.Helper()
	tag := fmt.Sprintf("%s %d", t.Name(), time.Now().UnixNano())
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	timeout := time.After(sockettest.Patience)
	for {
		// An interface that has just come up may fail.
		_, _ = from.SendGroup([]byte(tag), group, m.port(), from.ns.Interface(ifname))
		for waiting := true; waiting; {
			select {
			case d := <-m.queue.Datagrams():
				if string(d.Data) == tag {
					require.Equal(t, group, d.To().Addr().WithZone(""))
					return
				}
			case <-again.C:
				waiting = false
			case <-timeout:
				require.FailNow(t, "not heard", "%+v\n%+v\n%s\n%s", m.Memberships(), m.Stats(), m.ns.IP("-d addr"), m.ns.IP("maddr"))
			}
		}
	}
}

// kernelHas returns how often the kernel has joined a group, for each interface.
func kernelHas(t testing.TB, ns *netns.NS, group netip.Addr) map[string]int {
	t.Helper()
	return kernelGroups(t, ns, group.Is6())[group]
}

// kernelGroups returns how often the kernel has joined each group of a family, for each
// interface.
func kernelGroups(t testing.TB, ns *netns.NS, v6 bool) map[netip.Addr]map[string]int {
	t.Helper()
	all := map[netip.Addr]map[string]int{}
	add := func(group netip.Addr, dev, users string) {
		if all[group] == nil {
			all[group] = map[string]int{}
		}
		all[group][dev] += atoi(t, users)
	}
	if v6 {
		for _, line := range lines(t, ns, "igmp6") {
			// 2  eth0  ff0200000000000000000000000000fb  1 00000004 0
			if f := strings.Fields(line); len(f) >= 4 {
				b, err := hex.DecodeString(f[2])
				require.NoError(t, err)
				add(netip.AddrFrom16([16]byte(b)), f[1], f[3])
			}
		}
		return all
	}
	dev := ""
	for _, line := range lines(t, ns, "igmp") {
		// 2	eth0      :     2      V3
		//				010000E0     1 0:00000000		0
		switch f := strings.Fields(line); {
		case len(f) > 2 && !strings.HasPrefix(line, "\t") && f[0] != "Idx":
			dev = strings.TrimSuffix(f[1], ":")
		case len(f) > 2 && f[0] != "Idx":
			n, err := strconv.ParseUint(f[0], 16, 32)
			require.NoError(t, err)
			b := binary.NativeEndian.AppendUint32(nil, uint32(n))
			add(netip.AddrFrom4([4]byte(b)), dev, f[1])
		}
	}
	return all
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

func lines(t testing.TB, ns *netns.NS, file string) []string {
	t.Helper()
	var b []byte
	var err error
	ns.Do(func() { b, err = os.ReadFile("/proc/thread-self/net/" + file) })
	require.NoError(t, err)
	return strings.Split(string(b), "\n")
}

// cable connects two namespaces by interfaces named eth, with addresses of both families.
func cable(t testing.TB, here, there *netns.NS) {
	t.Helper()
	netns.Veth(t, here, "eth", there, "eth")
	address(here, 1)
	address(there, 2)
}

// linked returns two namespaces with a cable.
func linked(t testing.TB) (here, there *netns.NS) {
	t.Helper()
	here, there = netns.New(t), netns.New(t)
	cable(t, here, there)
	return here, there
}

func address(ns *netns.NS, host int) {
	ns.Addr("eth", fmt.Sprintf("192.0.2.%d/24", host), fmt.Sprintf("2001:db8::%d/64", host), fmt.Sprintf("fe80::%d/64", host))
}

// lan returns a namespace with one interface, eth, that has a carrier and addresses of both
// families.
func lan(t testing.TB) *netns.NS {
	t.Helper()
	here := netns.New(t)
	netns.Veth(t, here, "eth", here, "end")
	address(here, 1)
	return here
}
