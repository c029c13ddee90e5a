package group_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
)

// steerings calls f for each kind of steering, in a subtest. how runs a function so that
// ListenGroup chooses that kind.
func steerings(t *testing.T, f func(t *testing.T, how func(func()))) {
	if listen(t, udp.Config{}, 1, "udp4", "127.0.0.1:0").Steering() == udp.SteeringNone {
		t.Skip("there is a single socket")
	}
	t.Run("cbpf", func(t *testing.T) { f(t, func(do func()) { require.NoError(t, withoutBPF(do)) }) })
	t.Run("ebpf", func(t *testing.T) {
		g := listen(t, udp.Config{}, 1, "udp4", "127.0.0.1:0")
		if g.Steering() != udp.SteeringEBPF {
			t.Skip("eBPF needs CAP_BPF")
		}
		f(t, func(do func()) { do() })
	})
}

// withoutBPF calls do without CAP_BPF and CAP_SYS_ADMIN, like an ordinary process.
func withoutBPF(do func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was [2]unix.CapUserData
	if err := unix.Capget(&header, &was[0]); err != nil {
		return err
	}
	less := was
	less[unix.CAP_BPF/32].Effective &^= 1 << (unix.CAP_BPF % 32)
	less[unix.CAP_SYS_ADMIN/32].Effective &^= 1 << (unix.CAP_SYS_ADMIN % 32)
	if err := unix.Capset(&header, &less[0]); err != nil {
		return err
	}
	do()
	return unix.Capset(&header, &was[0])
}

// addresses are the kinds of addresses that a group may be bound to.
var addresses = []struct{ network, address string }{
	{"udp4", "127.0.0.1:0"}, {"udp4", ":0"}, {"udp", ":0"}, {"udp6", "[::1]:0"},
}

// When members leave, one after the other in any order, their flows move, no others do, and no
// request is lost.
func TestFlowsStayWhenMembersLeave(t *testing.T) {
	const n = 4
	for _, order := range [][]int{{3, 2, 1}, {0, 1, 2}, {1, 3, 0}, {2, 0, 3}} {
		for i, at := range addresses {
			t.Run(fmt.Sprint(order, i), func(t *testing.T) {
				steerings(t, func(t *testing.T, how func(func())) {
					var g *udp.Group
					how(func() { g = listen(t, udp.Config{}, n, at.network, at.address) })
					c := newClients(t, 200, target(at.network, g.LocalAddrPort()))
					by := c.round()
					for left, leaver := range order {
						stop := c.steadily(perSecond)
						shutdown(t, g.Conns()[leaver])
						stop()
						now := c.round()
						for flow := range now {
							if by[flow] != leaver {
								require.Equal(t, by[flow], now[flow], "a flow of a member that stays")
							}
							require.NotContains(t, order[:left+1], now[flow])
						}
						by = now
						s := g.Conns()[leaver].Stats()
						assert.Equal(t, s.Received, s.Handled, "of the one that left")
						assert.Zero(t, s.KernelDrops)
					}
				})
			})
		}
	}
}

// The flows of a member that leaves are distributed over the remaining ones.
func TestTheSharesOfLeaversAreSpread(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g *udp.Group
		how(func() { g = listen(t, udp.Config{}, 8, "udp4", "127.0.0.1:0") })
		c := newClients(t, 600, g.LocalAddrPort())
		for _, leaver := range []int{0, 3, 4, 7} {
			shutdown(t, g.Conns()[leaver])
		}
		shares := map[int]int{}
		for _, by := range c.round() {
			shares[by]++
		}
		require.Len(t, shares, 4)
		for by, share := range shares {
			assert.InDelta(t, 150, share, 60, "member %d", by)
		}
	})
}

// A group takes over from another on any kind of address: member i gets the flows of member i,
// and no request is lost.
func TestRollingRestart(t *testing.T) {
	const n = 2
	for _, at := range addresses {
		t.Run(at.network+" "+at.address, func(t *testing.T) {
			steerings(t, func(t *testing.T, how func(func())) {
				var g *udp.Group
				how(func() { g = listen(t, udp.Config{}, n, at.network, at.address) })
				c := newClients(t, flows, target(at.network, g.LocalAddrPort()))
				by := c.round()
				stop := c.steadily(perSecond)
				for range restarts {
					old := g
					how(func() { g = listen(t, udp.Config{}, n, at.network, old.LocalAddrPort().String()) })
					require.Equal(t, old.Steering(), g.Steering())
					c.more(flows / 2)
					shutdown(t, old)
					s := old.Stats().Total
					require.Equal(t, s.Received, s.Handled, "none is dropped: %v", s)
					require.Zero(t, s.KernelDrops)
					c.more(flows / 2)
				}
				stop()
				assert.Equal(t, by, c.round(), "each flow is where it was")
				assert.Zero(t, c.moves.Load(), "and has never been elsewhere")
			})
		})
	}
}

// A group of another size takes over without loss too; flows move then.
func TestRestartWithAnotherNumber(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g *udp.Group
		how(func() { g = listen(t, udp.Config{}, 3, "udp4", "127.0.0.1:0") })
		c := newClients(t, 300, g.LocalAddrPort())
		stop := c.steadily(perSecond)
		for _, n := range []int{1, 4, 2, 5, 3} {
			old := g
			how(func() { g = listen(t, udp.Config{}, n, "udp4", old.LocalAddrPort().String()) })
			shutdown(t, old)
			c.more(flows / 2)
		}
		stop()
		c.round()
		for i, m := range g.Stats().Members {
			assert.NotZero(t, m.Received, "member %d", i)
		}
	})
}

// A group uses all of its members after it took over from a group some of whose members had left
// before, or left while both had the port.
func TestRestartWhereMembersHaveLeft(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprint(both), func(t *testing.T) {
			steerings(t, func(t *testing.T, how func(func())) {
				var g *udp.Group
				how(func() { g = listen(t, udp.Config{}, 4, "udp4", "127.0.0.1:0") })
				c := newClients(t, 400, g.LocalAddrPort())
				stop := c.steadily(perSecond)
				old := g
				join := func() {
					how(func() { g = listen(t, udp.Config{}, 4, "udp4", old.LocalAddrPort().String()) })
				}
				if both {
					join()
				}
				shutdown(t, old.Conns()[1])
				shutdown(t, old.Conns()[0])
				if !both {
					join()
				}
				shutdown(t, old)
				stop()
				by := c.round()
				for i := range 4 {
					assert.Contains(t, by, i)
				}
			})
		})
	}
}

// With ReusePort other sockets share the port, and leaving loses nothing either.
func TestReusePortSharesWithOthers(t *testing.T) {
	cfg := udp.Config{ReusePort: true}
	g := listen(t, cfg, 2, "udp4", "127.0.0.1:0")
	assert.Equal(t, udp.SteeringHash, g.Steering())
	c := newClients(t, 200, g.LocalAddrPort())
	stop := c.steadily(perSecond)
	for range 10 {
		old := g
		g = listen(t, cfg, 2, "udp4", old.LocalAddrPort().String())
		for end := time.Now().Add(within); g.Stats().Total.Received == 0; { // both get a share
			require.True(t, time.Now().Before(end), "no flow has moved")
			c.more(1)
		}
		shutdown(t, old)
		s := old.Stats().Total
		require.Equal(t, s.Received, s.Handled)
	}
	stop()
}

// Members that close all at once leave the flows to the next group, too.
func TestCloseHandsFlowsOver(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g, next *udp.Group
		how(func() { g = listen(t, udp.Config{}, 3, "udp4", "127.0.0.1:0") })
		c := newClients(t, 300, g.LocalAddrPort())
		by := c.round()
		how(func() { next = listen(t, udp.Config{}, 3, "udp4", g.LocalAddrPort().String()) })
		require.NoError(t, g.Close())
		<-g.Done()
		assert.Equal(t, by, c.round())
		assert.EqualValues(t, 300, next.Stats().Total.Received)
	})
}

// The programs of the largest group are not too long, whoever has left.
func TestLargestGroup(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g *udp.Group
		how(func() { g = listen(t, udp.Config{}, 256, "udp4", "127.0.0.1:0") })
		c := newClients(t, 500, g.LocalAddrPort())
		c.round()
		var gone []int
		for leaver := 0; leaver < 256; leaver += 5 {
			require.NoError(t, g.Conns()[leaver].Close())
			<-g.Conns()[leaver].Done()
			gone = append(gone, leaver)
		}
		first := c.round()
		for _, by := range first {
			require.False(t, slices.Contains(gone, by))
		}
		assert.Equal(t, first, c.round())
	})
}

// IPv6 packets whose UDP header comes after another one find a member, too: that of
// their address.
func TestExtensionHeaders(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g *udp.Group
		how(func() { g = listen(t, udp.Config{}, 4, "udp6", "[::1]:0") })
		c := newClients(t, 20, netip.MustParseAddrPort(g.LocalAddrPort().String()))
		for _, conn := range c.conns {
			rc, err := conn.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, rc.Control(func(fd uintptr) {
				padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // a destination options header with PadN
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, padding)
			}))
			if errors.Is(err, unix.EPERM) {
				t.Skip("sending extension headers needs CAP_NET_RAW:", err)
			}
			require.NoError(t, err)
		}
		assert.Equal(t, c.round(), c.round())
		assert.Zero(t, c.moves.Load())
	})
}

// A member that has left gets no datagrams even if its descriptor was duplicated: the other
// members get them, until the last one has left.
func TestDuplicatesOfALeaverGetNothing(t *testing.T) {
	steerings(t, func(t *testing.T, how func(func())) {
		var g *udp.Group
		how(func() { g = listen(t, udp.Config{}, 2, "udp4", "127.0.0.1:0") })
		rc, err := g.Conns()[0].SyscallConn()
		require.NoError(t, err)
		duplicate := -1
		require.NoError(t, rc.Control(func(fd uintptr) { duplicate, err = unix.Dup(int(fd)) }))
		require.NoError(t, err)
		defer unix.Close(duplicate)
		c := newClients(t, 50, g.LocalAddrPort())
		shutdown(t, g.Conns()[0])
		for _, by := range c.round() {
			require.Equal(t, 1, by)
		}
		shutdown(t, g.Conns()[1])
		conn, err := net.Dial("udp4", g.LocalAddr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, unix.ECONNREFUSED)
	})
}
