package sys

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// Without netlink the same interfaces are found, in the namespace of the thread that opened
// the Namespace.
func TestInterfacesWithoutNetlink(t *testing.T) {
	netns.Run(t, func() {
		ns := netns.New(t)
		netns.Veth(t, ns, "eth", ns, "other")
		ns.Addr("eth", "192.0.2.1/24")
		ns.Addr("eth", "2001:db8::1/64")
		ns.IP("-6 addr add fe80::1/64 dev other") // tentative for a while
		ns.IP("link set other mtu 1300")
		var with, without *Namespace
		ns.Do(func() {
			var err error
			with, err = Here()
			require.NoError(t, err)
			without = &Namespace{fd: -1}
			without.proc, err = openIfProc()
			require.NoError(t, err)
		})
		defer with.Close()
		defer without.Close()
		list := func(n *Namespace) []socket.Interface {
			ifs, err := n.Interfaces()
			require.NoError(t, err)
			for i := range ifs {
				ifs[i].Generation, ifs[i].HardwareAddr = 0, nil
			}
			return ifs
		}
		tentative := func() bool { return list(without)[2].Tentative }
		for same := false; !same; { // the address becomes usable between two lists, once
			before := tentative()
			a, b := list(with), list(without)
			if same = before == tentative(); same {
				require.Equal(t, a, b)
			}
		}
		ns.IP("link set eth down")
		ns.IP("link set other down") // before Linux 6.2 it can't be renamed otherwise
		ns.IP("link set other name another")
		ns.IP("link set another up")
		require.Equal(t, list(with), list(without))
		ns.IP("link del eth")
		require.Equal(t, list(with), list(without))
		require.Len(t, list(without), 1)
	})
}

// A line of /proc/net/if_inet6 that cannot be read is left out.
func TestParseInet6(t *testing.T) {
	const line = "fe800000000000000000000000000001 02 40 20 "
	for _, test := range []struct {
		flags     string
		tentative bool
	}{{"80", false}, {"40", true}, {"c0", true}, {"44", false}, {"48", true}} {
		index, p, tentative, ok := parseInet6(line + test.flags + "     eth0")
		require.True(t, ok)
		require.Equal(t, 2, index)
		require.Equal(t, netip.MustParsePrefix("fe80::1/64"), p)
		require.Equal(t, test.tentative, tentative, test.flags)
	}
	for _, bad := range []string{"", "fe80", line, line[:38] + " 80", "x" + line + "80 eth0", line[:33] + "02 ff 20 80 eth0"} {
		_, _, _, ok := parseInet6(bad)
		require.False(t, ok, bad)
	}
}

// addAddr keeps Tentative while no IPv6 address is usable.
func TestTentativeInterfaces(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::1/64")
	type addr struct {
		p         netip.Prefix
		tentative bool
	}
	for _, test := range []struct {
		addrs []addr
		want  bool
	}{
		{nil, false},
		{[]addr{{v4, false}}, false},
		{[]addr{{v6, true}}, true},
		{[]addr{{v4, false}, {v6, true}, {v4, false}}, true},
		{[]addr{{v6, true}, {v6, true}}, true},
		{[]addr{{v6, true}, {v6, false}}, false},
		{[]addr{{v6, false}, {v6, true}}, false},
	} {
		all := []socket.Interface{iface(1, "lo", 0), iface(3, "eth", 0)}
		for _, a := range test.addrs {
			addAddr(all, 3, a.p, a.tentative)
			addAddr(all, 2, a.p, a.tentative) // removed meanwhile
		}
		require.Equal(t, test.want, all[1].Tentative, "%v", test.addrs)
		require.Len(t, all[1].Addrs, len(test.addrs))
		require.Empty(t, all[0].Addrs)
	}
}

// A line of /proc/net/if_inet6 is the kernel's, and read without netlink only.
func FuzzInet6(f *testing.F) {
	f.Add("fe800000000000000000000000000001 02 40 20 c0 eth0")
	f.Add("20010db8000000000000000000000001 ffffffff 80 00 40 x")
	f.Fuzz(func(t *testing.T, line string) {
		index, prefix, _, ok := parseInet6(line)
		if ok && (!prefix.IsValid() || !prefix.Addr().Is6() || index < 0) {
			t.Fatalf("%q: %d, %v", line, index, prefix)
		}
	})
}
