package mcast_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
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
	empty  uint64            // how often the interfaces have lost what was joined on them
	err    error             // of listing them
}

type place struct {
	group, source netip.Addr
	ifindex       int
}

func (c *counted) Interfaces() ([]socket.Interface, error) {
	c.mu.Lock()
	c.looks++
	lost, empty, err := c.lost, c.empty, c.err
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ifs, err := c.Network.Interfaces()
	for i := range ifs {
		ifs[i].Generation += lost << 32
		ifs[i].Emptied += empty
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

func (c countedSocket) Interfaces() ([]socket.Interface, error) { return c.Socket.Interfaces() }

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
	n := udptest.NewNet(t, udptest.Config{})
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
	t.Cleanup(func() { sockettest.Stop(t, l.m) })
	l.far, err = udp.Config{Network: far.Network()}.ListenMulticast(t.Context(), network, ":0", udp.BaseHandler{})
	require.NoError(t, err)
	t.Cleanup(func() { sockettest.Stop(t, l.far) })
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
		_, err := l.far.SendGroup([]byte(tag), group, l.m.LocalAddrPort().Port(), l.farOn[via].NetInterface())
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

// settled waits for longer than the toolkit may take, and returns what it has done and
// reported since the last call.
func (l *lab) settled() (looks, joins int, reported []udp.Membership) {
	time.Sleep(time.Second)
	synctest.Wait()
	looks, joins = l.net.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	reported, l.changes = l.changes, nil
	return looks, joins, reported
}

// heldOn reports whether a membership holds on exactly the named interfaces.
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

// manyGroups returns n IPv6 groups.
func manyGroups(n int) []netip.Addr {
	gs := make([]netip.Addr, n)
	for i := range gs {
		gs[i] = netip.AddrFrom16([16]byte{0xff, 0x15, 14: byte(i >> 8), 15: byte(i)})
	}
	return gs
}
