package multicast_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// A hundred times for each family the interface goes down and up, or is deleted and created
// again, while datagrams are sent. Each time they arrive again within a second. At the end
// the group is joined once, and after Close not at all.
func TestFlapsUnderTraffic(t *testing.T) {
	netns.Run(t, func() {
		for _, f := range ipFamilies {
			t.Run(f.network, func(t *testing.T) { flapsUnderTraffic(t, f.network, f.one) })
		}
	})
}

func flapsUnderTraffic(t *testing.T, network string, group netip.Addr) {
	here, there := linked(t)
	before := openSockets(t)
	receiver := joinIn(t, here, udp.Config{}, network, ":0", group)
	sender := joinIn(t, there, udp.Config{}, network, ":0")
	require.NoError(t, sender.SetMulticastInterface(there.Interface("eth")))
	sent, stop := sendAllTheTime(sender.MulticastConn, netip.AddrPortFrom(group, receiver.port()))
	defer stop()

	// The IPv6 addresses are removed when the interface goes down.
	up := "ip link set eth up; ip addr add 2001:db8::1/64 nodad dev eth"
	n := 100
	if testing.Short() {
		n = 10
	}
	var silences []time.Duration
	for i := range n {
		switch {
		case i%10 == 9:
			here.IP("link del eth")
			cable(t, here, there)
		case i%2 == 0: // down for less time than the monitor waits
			here.Command("sh", "-c", "ip link set eth down; "+up)
		default:
			here.IP("link set eth down")
			receiver.await(t, "down", heldOn("lo"))
			here.Command("sh", "-c", up)
		}
		start, last := time.Now(), sent.Load()
		for heard := uint64(0); heard <= last; {
			d := sockettest.Next(t, receiver.queue.Datagrams())
			heard = binary.BigEndian.Uint64(d.Data)
			d.Release()
		}
		silences = append(silences, time.Since(start))
	}
	slices.Sort(silences)
	t.Log(n, "flaps; silences: the median", silences[n/2], "the longest", silences[n-1])
	// On a busy machine one in twenty may take longer.
	late := slices.IndexFunc(silences, func(s time.Duration) bool { return s > 5*time.Second })
	require.True(t, late < 0 || late >= n-max(1, n/20), "%v", silences)
	// The last change of the carrier may not have been handled yet.
	sockettest.Eventually(t, func() bool { return kernelHas(t, here, group)["eth"] == 1 })
	stop()
	sockettest.Finish(t, receiver.MulticastConn)
	require.Empty(t, kernelHas(t, here, group))
	sockettest.Finish(t, sender.MulticastConn)
	require.Equal(t, before, openSockets(t))
}

// sendAllTheTime sends increasing numbers to a group until stop is called. It ignores errors:
// at times there is no interface.
func sendAllTheTime(m *udp.MulticastConn, to netip.AddrPort) (sent *atomic.Uint64, stop func()) {
	sent = new(atomic.Uint64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-quit:
				return
			case <-pace.C:
			}
			_ = m.SendTo(binary.BigEndian.AppendUint64(nil, sent.Add(1)), to)
		}
	}()
	return sent, sync.OnceFunc(func() { close(quit); <-done })
}

// Every socket is closed: overflow sockets, the monitor's, and those of a ListenMulticast that
// fails.
func TestNoDescriptorIsLeft(t *testing.T) {
	netns.Run(t, func() {
		here, there := linked(t)
		before := openSockets(t)
		for _, f := range ipFamilies {
			groups := manyGroups(f.one.Is6(), 50)
			receiver := joinIn(t, here, udp.Config{}, f.network, ":0", groups...)
			require.NoError(t, receiver.JoinSource(f.one, map[bool]netip.Addr{
				true: netip.MustParseAddr("192.0.2.2"), false: netip.MustParseAddr("2001:db8::2")}[f.one.Is4()]))
			sender := joinIn(t, there, udp.Config{}, f.network, netip.AddrPortFrom(f.other, 0).String())
			for range 2 {
				here.IP("link del eth")
				cable(t, here, there)
				for range len(groups) + 1 {
					receiver.await(t, "joined again", heldOn("eth"))
				}
			}
			here.Do(func() {
				_, err := udp.ListenMulticast(t.Context(), f.network, ":0", udp.BaseHandler{}, append(groups, netip.MustParseAddr("192.0.2.1"))...)
				require.ErrorIs(t, err, syscall.EINVAL)
			})
			sockettest.Finish(t, receiver.MulticastConn)
			sockettest.Finish(t, sender.MulticastConn)
			require.Equal(t, before, openSockets(t))
		}
	})
}

// openSockets counts the sockets of this process, of any family.
func openSockets(t testing.TB) int {
	t.Helper()
	return countSockets(t, func(string) bool { return true })
}

// countSockets counts the descriptors of this process that are sockets and that count accepts.
func countSockets(t testing.TB, count func(fd string) bool) (n int) {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range es {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && strings.HasPrefix(to, "socket:") && count(e.Name()) {
			n++
		}
	}
	return n
}
