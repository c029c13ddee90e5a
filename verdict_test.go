package udp_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
)

// filtered makes the lab's socket anew, with a filter, and joins the group.
func (l *lab) filtered(filter func(*net.Interface) bool, group netip.Addr) {
	l.t.Helper()
	require.NoError(l.t, l.m.Close())
	cfg := udp.Config{Network: l.net, InterfaceFilter: filter}
	m, err := cfg.ListenMulticast(l.t.Context(), "udp4", ":0", udp.BaseHandler{}, group)
	require.NoError(l.t, err)
	l.m = m
	l.t.Cleanup(func() { l.m.Close() })
}

// A filter that does not answer keeps waiting what needs its answer, and Close as a
// callback would, and nothing else: not the other sockets, and no Leave.
func TestAnInterfaceFilterThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		other, err := udp.Config{Network: l.net}.ListenMulticast(t.Context(), "udp4", ":0", udp.BaseHandler{}, group)
		require.NoError(t, err)
		defer other.Close()
		answer, asked := make(chan struct{}), make(chan struct{}, 1)
		l.filtered(func(ifi *net.Interface) bool {
			if ifi.Name == "wlan0" {
				put(asked)
				<-answer
			}
			return true
		}, group)
		require.NoError(t, l.m.Join(group.Next(), l.eth0.NetInterface(), &net.Interface{Name: "wlan0"}))
		l.settled()
		wlan := l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		l.settled()
		require.Len(t, asked, 1)

		held := func(m *udp.MulticastConn, at int, names ...string) {
			t.Helper()
			require.True(t, heldOn(names...)(m.Memberships()[at]), "%+v", m.Memberships()[at])
		}
		held(other, 0, "eth0", "wlan0")
		held(l.m, 0, "eth0")
		held(l.m, 1, "eth0", "wlan0") // it is named
		require.NoError(t, other.Join(group.Next()))
		require.NoError(t, other.Leave(group.Next()))
		require.NoError(t, l.m.SetMulticastInterface(wlan.NetInterface()))
		require.NoError(t, l.m.Leave(group.Next()))
		joined := make(chan error, 1) // which needs the answer
		go func() { joined <- l.m.Join(group.Next()) }()

		answer <- struct{}{} // to the one and only question
		require.NoError(t, <-joined)
		l.settled()
		held(l.m, 0, "eth0", "wlan0")
		held(l.m, 1, "eth0", "wlan0")

		<-asked
		wlan.SetDown(true)
		l.settled()
		wlan.Rename("wlan1")
		wlan.Rename("wlan0")
		wlan.AddAddr("10.9.0.77/24")
		wlan.SetDown(false)
		l.settled()
		require.Len(t, asked, 1)
		closed := make(chan error, 1)
		go func() { closed <- l.m.Close() }()
		synctest.Wait()
		require.Empty(t, closed, "no goroutine outlives its socket")
		close(answer)
		require.NoError(t, <-closed)
	})
}

// Leave may be called inside a lock that the filter wants.
func TestAnInterfaceFilterThatTakesALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		var mu sync.Mutex
		asked := make(chan struct{}, 1)
		l.filtered(func(ifi *net.Interface) bool {
			put(asked)
			mu.Lock()
			defer mu.Unlock()
			return true
		}, group)
		<-asked
		mu.Lock()
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		<-asked
		require.NoError(t, l.m.Leave(group))
		mu.Unlock()
	})
}

// The filter is asked about each interface once, and again when that is another.
func TestAnInterfaceFilterIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := netip.MustParseAddr("239.1.2.3")
		l := newLab(t, "udp4")
		var asked atomic.Int32
		l.filtered(func(ifi *net.Interface) bool {
			if ifi.Flags&net.FlagLoopback == 0 {
				asked.Add(1)
			}
			return ifi.Name != "lan0"
		}, group)
		joins := func(want int, on string) {
			t.Helper()
			l.settled()
			require.Equal(t, on, l.on())
			for range 3 {
				require.NoError(t, l.m.Join(group))
			}
			_, err := l.m.SendGroup([]byte("x"), group.Next(), 9)
			require.NoError(t, err)
			require.EqualValues(t, want, asked.Swap(0))
			require.Equal(t, on, l.on())
		}
		joins(1, "eth0")
		joins(0, "eth0")
		l.near.Attach(l.wifi, "wlan0", wifiAddrs...)
		joins(1, "eth0 wlan0")
		l.eth0.Rename("lan0")
		joins(1, "wlan0")
		l.eth0.Rename("eth0")
		joins(1, "eth0 wlan0")
		l.eth0.SetDown(true)
		joins(0, "wlan0")
		l.eth0.SetDown(false)
		joins(0, "eth0 wlan0")
		l.eth0.AddAddr("10.0.0.77/24")
		joins(1, "eth0 wlan0")
		l.eth0.Remove()
		l.eth0 = l.near.Attach(l.lan, "eth0", lanAddrs...)
		joins(1, "wlan0 eth0")
		l.near.Interface("wlan0").Remove()
		time.Sleep(time.Second)
		joins(0, "eth0")
	})
}

func put(in chan<- struct{}) {
	select {
	case in <- struct{}{}:
	default:
	}
}
