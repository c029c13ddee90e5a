package mcast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a network and a socket on it. Joining costs nothing and succeeds, unless refuse says
// otherwise.
type fake struct {
	socket.Network
	mu     sync.Mutex
	ifs    []socket.Interface
	refuse func(ifindex int) error
	calls  []string
	log    bool // record calls
}

func newFake(interfaces int) *fake {
	f := &fake{}
	for i := range interfaces {
		f.ifs = append(f.ifs, socket.Interface{
			Interface: net.Interface{Index: i + 1, Name: fmt.Sprint("eth", i), Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast},
			Addrs:     []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24), netip.MustParsePrefix("fe80::1/64")},
		})
	}
	return f
}

func (f *fake) Interfaces() ([]socket.Interface, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ifs), nil
}

func (f *fake) Watch(func()) (stop func(), err error) { return func() {}, nil }

func (f *fake) call(what string, ifindex int) error {
	if f.log {
		f.calls = append(f.calls, fmt.Sprint(what, " ", ifindex))
	}
	if f.refuse != nil && what == "join" {
		return f.refuse(ifindex)
	}
	return nil
}

func (f *fake) Join(_, _ netip.Addr, ifindex int) error          { return f.call("join", ifindex) }
func (f *fake) Leave(_, _ netip.Addr, ifindex int) error         { return f.call("leave", ifindex) }
func (f *fake) Block(_, _ netip.Addr, ifindex int, _ bool) error { return f.call("block", ifindex) }
func (f *fake) Info() socket.Info                                { return socket.Info{Family: socket.Dual, PacketInfo: true} }
func (f *fake) SetMulticast(o socket.MulticastOption, v6 bool, value int) error {
	return f.call(fmt.Sprint("set ", o, " ", v6), value)
}
func (f *fake) Multicast(socket.MulticastOption, bool) (int, error) { return 0, nil }

func (f *fake) manager(t testing.TB, cfg Config) *Manager {
	cfg.Socket = f
	m, err := New(f, cfg)
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	return m
}

// reconcile does what the Monitor does after a change.
func (f *fake) reconcile(m *Manager) {
	(*follower)(m).LeaveStale(f.ifs, true)
	(*follower)(m).Reconcile(f.ifs)
}

func (f *fake) setDown(i int, down bool) {
	f.ifs[i].Flags |= net.FlagUp
	if down {
		f.ifs[i].Flags &^= net.FlagUp
	}
}

var (
	group4 = netip.MustParseAddr("239.1.2.3")
	group6 = netip.MustParseAddr("ff02::fb")
	none   netip.Addr
)

// However often memberships change while the user is busy, each waits once, and shows its
// newest state; one that was left is not reported.
func TestChangesAreCoalesced(t *testing.T) {
	f, posted := newFake(2), 0
	m := f.manager(t, Config{Changed: func() { posted++ }})
	require.NoError(t, m.Join(group4, none, nil))
	require.NoError(t, m.Join(group6, none, nil))
	require.Zero(t, posted, "Join returns what it has done")
	for range 1000 {
		for _, down := range []bool{true, false} {
			f.setDown(1, down)
			f.reconcile(m)
		}
	}
	require.Equal(t, 1, posted)
	require.Len(t, m.changes, 2)
	changes := slices.Collect(m.Changes())
	require.Equal(t, m.Memberships(), changes)
	require.Len(t, changes[0].On, 2)
	require.Empty(t, slices.Collect(m.Changes()))

	f.setDown(1, true)
	f.reconcile(m)
	require.Equal(t, 2, posted)
	require.NoError(t, m.Leave(group4, none, nil))
	require.Len(t, m.changes, 1)
	for s := range m.Changes() {
		require.Equal(t, group6, s.Group)
		f.setDown(1, false)
		f.reconcile(m) // within the user's callback
	}
	require.Equal(t, 3, posted)
	require.Len(t, slices.Collect(m.Changes()), 1)
}

// Joining and leaving what is refused while the user is busy leaves nothing behind.
func TestChangesOfMembershipsThatWereLeft(t *testing.T) {
	f := newFake(2)
	f.refuse = func(ifindex int) error {
		if ifindex == 2 {
			return errors.ErrUnsupported
		}
		return nil
	}
	m := f.manager(t, Config{Changed: func() {}})
	for range 100 {
		require.NoError(t, m.Join(group4, none, nil))
		require.Len(t, m.changes, 1)
		require.NoError(t, m.Leave(group4, none, nil))
		require.Empty(t, m.changes)
	}
}

// A change is reported again when the interface can be sent from.
func TestAnAddressBecomesUsable(t *testing.T) {
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("named %v", named), func(t *testing.T) {
			f, posted := newFake(1), 0
			m := f.manager(t, Config{Changed: func() { posted++ }})
			var ifs []*net.Interface
			if named {
				ifs = append(ifs, &f.ifs[0].Interface)
			}
			require.NoError(t, m.Join(group6, none, ifs))
			require.NoError(t, m.Join(group4, none, ifs))
			changes := func() (groups []netip.Addr) {
				f.reconcile(m)
				for s := range m.Changes() {
					groups = append(groups, s.Group)
					require.NoError(t, s.On[0].Err)
				}
				return groups
			}
			require.Empty(t, changes())
			f.log = true
			f.ifs[0].Tentative = true
			require.Empty(t, changes())
			f.ifs[0].Tentative = false
			require.Equal(t, []netip.Addr{group6}, changes())
			require.Empty(t, changes())
			require.Empty(t, f.calls, "it stays joined")

			f.ifs[0].Generation++
			f.ifs[0].Tentative = true
			require.Equal(t, []netip.Addr{group6, group4}, changes(), "it was replaced")
			f.ifs[0].Tentative = false
			require.Equal(t, []netip.Addr{group6}, changes())
		})
	}
}

// The filter is called once for each interface and reconciliation, and its results count from
// then on. It is not called for a named interface.
func TestFilter(t *testing.T) {
	f := newFake(3)
	calls, no := map[string]int{}, ""
	m := f.manager(t, Config{Filter: func(ifi *net.Interface) bool {
		calls[ifi.Name]++
		name := ifi.Name
		ifi.Name = "changed by the filter"
		return name != no
	}})
	once := map[string]int{"eth0": 1, "eth1": 1, "eth2": 1}
	require.NoError(t, m.Join(group4, none, []*net.Interface{{Name: "eth1"}}))
	require.Empty(t, calls)
	no = "eth1"
	require.NoError(t, m.Join(group6, none, nil))
	require.NoError(t, m.Join(group6.Next(), none, nil))
	clear(calls)
	f.reconcile(m)
	require.Equal(t, once, calls)
	require.Len(t, m.Memberships()[0].On, 1)
	require.Len(t, m.Memberships()[1].On, 2)
	clear(calls)
	no = "eth0"
	f.reconcile(m)
	require.Equal(t, once, calls)
	require.Equal(t, "eth1", m.Memberships()[2].On[0].Name)
	clear(calls)
	out, err := m.Outlets(group4.Next(), nil)
	require.NoError(t, err)
	require.Len(t, out, 2)
	require.Equal(t, once, calls)
}

// After Stop nothing is joined.
func TestStop(t *testing.T) {
	f := newFake(1)
	m, err := New(f, Config{Socket: f})
	require.NoError(t, err)
	require.NoError(t, m.Join(group4, none, nil))
	f.log = true
	m.Stop()
	require.ErrorIs(t, m.Join(group6, none, nil), net.ErrClosed)
	require.ErrorIs(t, m.Leave(group4, none, nil), net.ErrClosed)
	require.ErrorIs(t, m.Block(group4, none, true), net.ErrClosed)
	require.ErrorIs(t, m.SetInterface(nil), net.ErrClosed)
	_, err = m.Outlets(group4, nil)
	require.ErrorIs(t, err, net.ErrClosed)
	f.ifs[0].Generation++
	f.reconcile(m)
	require.Empty(t, f.calls)
}

// Wants compares destination, source and interface with what is joined.
func TestWants(t *testing.T) {
	f := newFake(2)
	m := f.manager(t, Config{})
	source, blocked := netip.MustParseAddr("fe80::9"), netip.MustParseAddr("fe80::8")
	specific := netip.MustParseAddr("ff32::1")
	require.NoError(t, m.Join(group6, none, []*net.Interface{{Name: "eth0"}}))
	require.NoError(t, m.Block(group6, blocked, true))
	require.NoError(t, m.Join(specific, source, nil))
	bound := f.manager(t, Config{Only: group6})
	require.NoError(t, bound.Join(group6, none, nil))
	require.ErrorIs(t, bound.Join(group6.Next(), none, nil), sys.EINVAL)
	unicast := netip.MustParseAddr("fe80::1")
	for _, test := range []struct {
		m          *Manager
		to, source netip.Addr
		ifindex    int
		want       bool
	}{
		{m, group6, source, 1, true},
		{m, group6.WithZone("eth0"), source.WithZone("eth0"), 1, true},
		{m, group6, source, 2, false},
		{m, group6, source, 0, true},
		{m, group6, blocked.WithZone("eth0"), 1, false},
		{m, specific, source, 2, true},
		{m, specific, blocked, 2, false},
		{m, group6.Next(), source, 1, false},
		{m, unicast, source, 1, true},
		{m, none, source, 1, true},
		{bound, group6, source, 1, true},
		{bound, unicast, source, 1, false},
		{bound, none, source, 1, true},
		{nil, unicast, source, 1, true},
		{nil, group6, source, 1, false},
	} {
		require.Equal(t, test.want, test.m.Wants(test.to, test.source, test.ifindex), "%+v", test)
	}
	require.NoError(t, m.Leave(group6, none, nil))
	require.False(t, m.Wants(group6, source, 1))
}

// halfDual is a socket of both families that has no IPv4 options.
type halfDual struct {
	*fake
	errno error
	ttl   int
}

func (h *halfDual) Info() socket.Info { return socket.Info{Family: socket.Dual} }

func (h *halfDual) SetMulticast(_ socket.MulticastOption, v6 bool, value int) error {
	if !v6 {
		return h.errno
	}
	h.ttl = value
	return nil
}

func (h *halfDual) Multicast(_ socket.MulticastOption, v6 bool) (int, error) {
	if !v6 {
		return 0, h.errno
	}
	return h.ttl, nil
}

// macOS and the BSDs have no IPv4 options on a socket of AF_INET6: those of IPv6 count.
func TestOptionsOfASocketWithoutIPv4Options(t *testing.T) {
	for _, errno := range []error{sys.EINVAL, sys.ENOPROTOOPT, errors.ErrUnsupported} {
		h := &halfDual{fake: newFake(1), errno: errno}
		m := &Manager{cfg: Config{Socket: h}}
		require.NoError(t, m.SetOption(socket.MulticastTTL, 7))
		require.Equal(t, 7, h.ttl)
	}
	h := &halfDual{fake: newFake(1), errno: os.ErrPermission}
	m := &Manager{cfg: Config{Socket: h}}
	require.ErrorIs(t, m.SetOption(socket.MulticastTTL, 7), os.ErrPermission)
	require.Zero(t, h.ttl, "neither is set")
}
