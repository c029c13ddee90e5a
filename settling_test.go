package udp_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/udptest"
)

// counted is a network that counts what it is asked about interfaces and groups.
type counted struct {
	udp.Network

	mu     sync.Mutex
	looks  int               // how often it has listed the interfaces
	joins  int               // how often a group was joined
	joined map[place]int     // what is joined now
	twice  []place           // what was joined once more
	calls  []string          // that joined and left, in order
	refuse func(place) error // nil: joins are left to the network
	lost   uint64            // how often the network has lost track of its interfaces
	err    error             // of listing them
}

type place struct {
	group, source netip.Addr
	ifindex       int
}

func (c *counted) Interfaces() ([]socket.Interface, error) {
	c.mu.Lock()
	c.looks++
	lost, err := c.lost, c.err
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ifs, err := c.Network.Interfaces()
	for i := range ifs {
		ifs[i].Generation += lost << 32
	}
	return ifs, err
}

func (c *counted) Open(ctx context.Context, network string, local netip.AddrPort, o socket.Options) (socket.Socket, error) {
	s, err := c.Network.Open(ctx, network, local, o)
	return countedSocket{s, c}, err
}

type countedSocket struct {
	socket.Socket
	*counted
}

func (c countedSocket) Join(group, source netip.Addr, ifindex int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := place{group, source, ifindex}
	if c.refuse != nil {
		if err := c.refuse(p); err != nil {
			return err
		}
	}
	c.calls = append(c.calls, fmt.Sprint("join ", ifindex))
	err := c.Socket.Join(group, source, ifindex)
	if c.joined[p] > 0 {
		c.twice = append(c.twice, p)
	}
	if err == nil {
		c.joins++
		c.joined[p]++
	}
	return err
}

func (c countedSocket) Leave(group, source netip.Addr, ifindex int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, fmt.Sprint("leave ", ifindex))
	maps.DeleteFunc(c.joined, func(p place, _ int) bool {
		return p.group == group && p.ifindex == ifindex && (p.source == source || !source.IsValid())
	})
	return c.Socket.Leave(group, source, ifindex)
}

// reset returns what was counted since the last time.
func (c *counted) reset() (looks, joins int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	looks, joins = c.looks, c.joins
	c.looks, c.joins = 0, 0
	return looks, joins
}

// A lab is a host, near, whose interfaces change, and one, far, that sends to it
// by the segments lan and wifi. It lies in a bubble, where time is virtual.
type lab struct {
	t         *testing.T
	near      *udptest.Host
	lan, wifi *udptest.Segment
	crowd     *udptest.Segment
	eth0      *udptest.Interface // of near, on lan
	net       *counted           // of near
	m         *udp.MulticastConn
	queue     *udp.Queue
	far       *udp.MulticastConn
	farOn     map[*udptest.Segment]*udptest.Interface
	sent      int

	mu      sync.Mutex
	changes []udp.Membership
}

func newLab(t *testing.T, network string) *lab {
	n := udptest.NewNet(udptest.Config{T: t})
	l := &lab{t: t, queue: udp.NewQueue(1000, udp.Block), lan: n.Segment("lan"), wifi: n.Segment("wifi"), crowd: n.Segment("crowd")}
	far := l.lan.Host("far", "10.0.0.1/24", "fd00::1/64")
	l.farOn = map[*udptest.Segment]*udptest.Interface{
		l.lan: far.Interface("eth0"), l.wifi: far.Attach(l.wifi, "wlan0", "10.9.0.1/24", "fd09::1/64"),
	}
	l.near = l.lan.Host("near", lanAddrs...)
	l.eth0 = l.near.Interface("eth0")
	l.net = &counted{Network: l.near.Network(), joined: map[place]int{}}
	cfg := udp.Config{Network: l.net, OnMembership: func(_ *udp.MulticastConn, changed udp.Membership) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changes = append(l.changes, changed)
	}}
	var err error
	l.m, err = cfg.ListenMulticast(t.Context(), network, ":0", l.queue)
	require.NoError(t, err)
	t.Cleanup(func() { l.m.Close() })
	l.far, err = udp.Config{Network: far.Network()}.ListenMulticast(t.Context(), network, ":0", udp.BaseHandler{})
	require.NoError(t, err)
	t.Cleanup(func() { l.far.Close() })
	return l
}

var (
	lanAddrs  = []string{"10.0.0.2/24", "fd00::2/64"}
	wifiAddrs = []string{"10.9.0.2/24", "fd09::2/64"}
)

// hears sends to the group every 10 ms, until that is heard, and returns how
// long it took. After each datagram meanwhile is called.
func (l *lab) hears(via *udptest.Segment, group netip.Addr, meanwhile func()) time.Duration {
	l.t.Helper()
	for start := time.Now(); ; {
		require.Less(l.t, time.Since(start), time.Minute, "%+v", l.m.Memberships())
		l.sent++
		tag := fmt.Sprint("datagram ", l.sent)
		_, err := l.far.SendGroup([]byte(tag), group, l.m.LocalAddrPort().Port(), l.farOn[via].Interface())
		require.NoError(l.t, err)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if last := l.last(); last == tag {
			return time.Since(start)
		}
		time.Sleep(9 * time.Millisecond)
		if meanwhile != nil {
			meanwhile()
		}
	}
}

// last empties the queue.
func (l *lab) last() (data string) {
	for {
		select {
		case d := <-l.queue.Datagrams():
			data = string(d.Data)
			d.Release()
		default:
			return data
		}
	}
}

// settled waits for longer than the toolkit may take, and returns what it has
// done, and told, since the last time.
func (l *lab) settled() (looks, joins int, told []udp.Membership) {
	time.Sleep(time.Second)
	synctest.Wait()
	looks, joins = l.net.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	told, l.changes = l.changes, nil
	return looks, joins, told
}

// After each change of the interfaces datagrams are heard within a second; each
// is settled by one look at the interfaces, and told once; and nothing is joined
// twice.
func TestWithinASecondOfEachChange(t *testing.T) {
	for _, f := range []struct {
		network string
		group   netip.Addr
		sources []netip.Addr
		addr    string // of near on lan
	}{
		{"udp4", netip.MustParseAddr("232.1.2.3"), []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.9.0.1")}, lanAddrs[0]},
		{"udp6", netip.MustParseAddr("ff35::1234"), []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd09::1")}, lanAddrs[1]},
	} {
		for _, specific := range []bool{false, true} {
			for _, named := range []bool{false, true} {
				name := fmt.Sprintf("%s, source-specific %v, interfaces named %v", f.network, specific, named)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := newLab(t, f.network)
						var ifs []*net.Interface
						if named {
							ifs = append(ifs, l.eth0.Interface(), &net.Interface{Name: "wlan0"})
						}
						wishes := 1
						if specific {
							wishes = len(f.sources)
							for _, source := range f.sources {
								require.NoError(t, l.m.JoinSource(f.group, source, ifs...))
							}
						} else {
							require.NoError(t, l.m.Join(f.group, ifs...))
						}
						l.hears(l.lan, f.group, nil)
						l.settled()
						l.eachChange(f.group, f.addr, wishes, named)

						l.net.mu.Lock()
						require.Empty(t, l.net.twice)
						l.net.mu.Unlock()
						if !specific {
							require.NoError(t, l.m.Leave(f.group))
							require.Empty(t, l.net.joined)
						}
					})
				})
			}
		}
	}
}

func (l *lab) eachChange(group netip.Addr, addr string, wishes int, named bool) {
	index := l.eth0.Interface().Index
	for _, step := range []struct {
		name string
		via  *udptest.Segment
		away func() // nil: the change has no first half
		back func()
		same bool // nothing is to be told of back
	}{
		{name: "an interface is added", via: l.wifi,
			back: func() { l.near.Attach(l.wifi, "wlan0", wifiAddrs...) }},
		{name: "down and up", via: l.lan,
			away: func() { l.eth0.SetDown(true) },
			back: func() { l.eth0.SetDown(false) }},
		{name: "removed, and created anew with another index", via: l.lan,
			away: func() { l.eth0.Remove() },
			back: func() {
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.NotEqual(l.t, index, l.eth0.Interface().Index)
				index = l.eth0.Interface().Index
			}},
		{name: "removed and at once created anew with the same index", via: l.lan,
			back: func() {
				l.eth0.Remove()
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.Equal(l.t, index, l.eth0.Interface().Index)
			}},
		{name: "the address is lost, and gained", via: l.lan,
			away: func() { l.eth0.RemoveAddr(addr) },
			back: func() { l.eth0.AddAddr(addr) },
			same: named}, // which needs no address
		{name: "the address is another at once", via: l.lan,
			back: func() {
				p := netip.MustParsePrefix(addr)
				l.eth0.AddAddr(netip.PrefixFrom(p.Addr().Next(), p.Bits()).String())
				l.eth0.RemoveAddr(addr)
			},
			same: true},
		{name: "renamed", via: l.lan,
			back: func() { l.eth0.Rename("lan0") }},
	} {
		require := require.New(l.t)
		expect := func(half string, same bool) {
			l.t.Helper()
			looks, _, told := l.settled()
			require.Equal(1, looks, "%s, %s", step.name, half)
			if same {
				require.Empty(told, "%s, %s", step.name, half)
				return
			}
			require.Len(told, wishes, "%s, %s", step.name, half)
		}
		if step.away != nil {
			step.away()
			expect("away", step.same)
		}
		step.back()
		silent := l.hears(step.via, group, nil)
		require.LessOrEqual(silent, time.Second, step.name)
		expect("back", step.same)
		l.t.Log(step.name, "and heard after", silent)
	}
}

// A burst of changes is settled once. One that doesn't end is settled meanwhile,
// not at each change, and what it has brought is heard within a second too.
func TestABurstIsSettledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("ff35::1234")
		l := newLab(t, "udp6")
		require.NoError(t, l.m.Join(group))
		l.settled()

		// A hundred interfaces at one instant.
		for i := range 100 {
			l.near.Attach(l.crowd, fmt.Sprint("vlan", i), fmt.Sprintf("fd08::%d/64", i+1))
		}
		looks, joins, told := l.settled()
		require.Equal(t, 1, looks)
		require.Equal(t, 100, joins)
		require.Len(t, told, 1)
		require.Len(t, told[0].On, 101)

		// One interface, ten times, a hundredth of a second apart; at the end it is up.
		for i := range 10 {
			l.eth0.SetDown(i%2 == 0)
			time.Sleep(10 * time.Millisecond)
		}
		looks, joins, told = l.settled()
		require.Equal(t, 1, looks)
		require.Zero(t, joins, "it is what it was")
		require.Empty(t, told)

		// And for ever.
		begin, changes := time.Now(), 0
		flap := func() { changes++; l.eth0.SetDown(changes%2 == 1) }
		flap()
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		silent := l.hears(l.wifi, group, flap)
		require.LessOrEqual(t, silent, time.Second)
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			flap()
		}
		lasted := time.Since(begin)
		looks, _, _ = l.settled()
		require.Greater(t, changes, 300)
		require.LessOrEqual(t, looks, int(lasted/(300*time.Millisecond))+1)
		require.Empty(t, l.net.twice)
		t.Log(changes, "changes in", lasted, "were settled", looks, "times; heard after", silent)
	})
}

// What is left of an interface that has gone is left by every socket before any of
// them joins on the next one of its index: the kernel can't tell the two apart. That
// holds also for a Join or a Leave that comes before the change has been settled.
func TestAllSocketsLeaveBeforeAnyJoins(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")
	for _, test := range []struct {
		name  string
		soon  func(*lab) error // after the change
		joins int
	}{
		{"settled", func(*lab) error { return nil }, 7},
		{"a group is joined", func(l *lab) error { return l.m.Join(group.Prev()) }, 8},
		{"a source is joined again", func(l *lab) error { return l.m.JoinSource(group, one) }, 7},
		{"another source is joined", func(l *lab) error { return l.m.JoinSource(group, two.Next()) }, 8},
		{"a group is left", func(l *lab) error { return l.m.Leave(group.Next()) }, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, "udp4")
				others := make([]*udp.MulticastConn, 3)
				for i := range others {
					var err error
					others[i], err = udp.Config{Network: l.net}.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{})
					require.NoError(t, err)
					t.Cleanup(func() { others[i].Close() })
				}
				for _, m := range append(others, l.m) {
					require.NoError(t, m.JoinSource(group, one))
				}
				require.NoError(t, l.m.JoinSource(group, two))
				require.NoError(t, l.m.Join(group.Next()))
				require.NoError(t, others[0].Join(group.Next()))
				l.settled()
				l.net.mu.Lock()
				l.net.calls = nil
				l.net.mu.Unlock()

				index := l.eth0.Interface().Index
				l.eth0.Remove()
				l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
				require.Equal(t, index, l.eth0.Interface().Index)
				require.NoError(t, test.soon(l))
				l.settled()
				join, leave := fmt.Sprint("join ", index), fmt.Sprint("leave ", index)
				// Each socket leaves each group once.
				want := slices.Repeat([]string{leave}, 6)
				want = append(want, slices.Repeat([]string{join}, test.joins)...)
				require.Equal(t, want, l.net.calls)
				for _, m := range append(others, l.m) {
					for _, membership := range m.Memberships() {
						require.True(t, heldOn("eth0")(membership), "%+v", membership)
					}
				}
				l.hears(l.lan, group, nil)
			})
		})
	}
}

// After news of the interfaces were lost any of them may be another one, though it
// looks the same: everything is left and joined once.
func TestAfterLostNewsEverythingIsJoinedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "udp6")
		groups := manyGroups(true, 30)
		for _, group := range groups {
			require.NoError(t, l.m.Join(group))
		}
		l.settled()
		l.net.mu.Lock()
		l.net.lost++
		before := maps.Clone(l.net.joined)
		l.net.mu.Unlock()
		l.eth0.AddAddr("fd00::77/64") // any news
		l.hears(l.lan, groups[7], nil)
		looks, joins, _ := l.settled()
		require.Equal(t, 1, looks)
		require.Equal(t, len(before), joins)
		require.Equal(t, before, l.net.joined)
		require.Empty(t, l.net.twice)
	})
}

// What an interface has refused is tried again: in ten seconds, and before that
// when anything changes.
func TestWhatWasRefusedIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		soon func(*lab)
		want time.Duration
	}{
		{"when nothing happens", func(*lab) {}, 10 * time.Second},
		{"at the next change", func(l *lab) { l.eth0.AddAddr("10.0.0.77/24") }, time.Second},
		{"when another group is left", func(l *lab) { require.NoError(l.t, l.m.Leave(netip.MustParseAddr("239.1.2.4"))) }, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := netip.MustParseAddr("239.1.2.3")
				l := newLab(t, "udp4")
				require.NoError(t, l.m.Join(group))
				require.NoError(t, l.m.Join(group.Next(), l.eth0.Interface()))
				l.settled()
				l.net.refuse = func(p place) error {
					if p.ifindex != l.eth0.Interface().Index {
						return syscall.ENOBUFS
					}
					return nil
				}
				start := time.Now()
				l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
				_, joins, told := l.settled()
				require.Zero(t, joins)
				require.Len(t, told, 1)
				require.ErrorIs(t, told[0].On[1].Err, syscall.ENOBUFS)
				require.True(t, told[0].Held())

				l.net.mu.Lock()
				l.net.refuse = nil
				l.net.mu.Unlock()
				test.soon(l)
				l.hears(l.wifi, group, nil)
				require.LessOrEqual(t, time.Since(start), time.Second+test.want)
				_, joins, told = l.settled()
				require.Equal(t, 1, joins)
				require.Len(t, told, 1)
				require.NoError(t, errors.Join(told[0].On[0].Err, told[0].On[1].Err))
			})
		})
	}
}

// When all of a group is refused, after some of its sources were joined, these stay.
func TestWhatIsRefusedLeavesTheRestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("10.0.0.1")
		l := newLab(t, "udp4")
		require.NoError(t, l.m.JoinSource(group, source))
		before := l.m.Memberships()
		l.net.refuse = func(p place) error {
			if !p.source.IsValid() {
				return syscall.ENOBUFS
			}
			return nil
		}
		require.ErrorIs(t, l.m.Join(group), syscall.ENOBUFS)
		require.Equal(t, before, l.m.Memberships())
		l.hears(l.lan, group, nil)

		// Unless they are refused as well: then that is told.
		l.settled()
		granted := 0
		l.net.refuse = func(p place) error { granted++; return syscall.ENOMEM }
		require.ErrorIs(t, l.m.Join(group), syscall.ENOMEM)
		require.Equal(t, 2, granted)
		_, _, told := l.settled()
		require.Len(t, told, 1)
		require.ErrorIs(t, told[0].On[0].Err, syscall.ENOMEM)
		require.False(t, l.m.Memberships()[0].Held())
	})
}
