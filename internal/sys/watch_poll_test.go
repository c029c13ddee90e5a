package sys

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
)

// hosts is a list of interfaces that a test changes.
type hosts struct {
	mu    sync.Mutex
	ifs   []socket.Interface
	err   error
	looks int
}

func (h *hosts) list() ([]socket.Interface, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks++
	return append([]socket.Interface(nil), h.ifs...), h.err
}

func (h *hosts) set(err error, ifs ...socket.Interface) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ifs, h.err = ifs, err
}

func iface(index int, name string, flags net.Flags, addrs ...string) socket.Interface {
	i := socket.Interface{Interface: net.Interface{Index: index, Name: name, Flags: flags}}
	for _, a := range addrs {
		i.Addrs = append(i.Addrs, netip.MustParsePrefix(a))
	}
	return i
}

// short is an interface that can't carry IPv6.
func short(i socket.Interface) socket.Interface {
	i.MTU = 1000
	return i
}

// Where the system does not report changes, each is found and reported once by the next
// comparison; what is as it was is not reported.
func TestChangesAreFoundByComparison(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast
	lo, eth := iface(1, "lo", net.FlagUp|net.FlagLoopback, "127.0.0.1/8"), iface(2, "eth", up, "192.0.2.1/24")
	synctest.Test(t, func(t *testing.T) {
		h := &hosts{ifs: []socket.Interface{lo, eth}}
		reported := make(chan time.Time, 100)
		stop := sync.OnceFunc(poll(h.list, pollInterval, func() { reported <- time.Now() }))
		defer stop()
		time.Sleep(time.Second) // so that every change is in the middle of an interval
		for _, change := range []struct {
			name string
			now  []socket.Interface
			err  error
			same bool
		}{
			{name: "none", now: []socket.Interface{lo, eth}, same: true},
			{name: "another interface", now: []socket.Interface{lo, eth, iface(3, "wlan", up)}},
			{name: "it gains an address", now: []socket.Interface{lo, eth, iface(3, "wlan", up, "10.0.0.1/8")}},
			{name: "its address is another", now: []socket.Interface{lo, eth, iface(3, "wlan", up, "10.0.0.2/8")}},
			{name: "its address has another prefix", now: []socket.Interface{lo, eth, iface(3, "wlan", up, "10.0.0.2/16")}},
			{name: "it gains a second one", now: []socket.Interface{lo, eth, iface(3, "wlan", up, "10.0.0.2/16", "fe80::1/64")}},
			{name: "it is renamed", now: []socket.Interface{lo, eth, iface(3, "wifi", up, "10.0.0.2/16", "fe80::1/64")}},
			{name: "its MTU is another", now: []socket.Interface{lo, eth, short(iface(3, "wifi", up, "10.0.0.2/16", "fe80::1/64"))}},
			{name: "and again", now: []socket.Interface{lo, eth, iface(3, "wifi", up, "10.0.0.2/16", "fe80::1/64")}},
			{name: "it goes down", now: []socket.Interface{lo, eth, iface(3, "wifi", net.FlagMulticast, "10.0.0.2/16", "fe80::1/64")}},
			{name: "it comes up", now: []socket.Interface{lo, eth, iface(3, "wifi", up, "10.0.0.2/16", "fe80::1/64")}},
			{name: "it gets its carrier", now: []socket.Interface{lo, eth, iface(3, "wifi", up|net.FlagRunning, "10.0.0.2/16", "fe80::1/64")}},
			{name: "it is recreated with another index", now: []socket.Interface{lo, eth, iface(4, "wifi", up|net.FlagRunning, "10.0.0.2/16", "fe80::1/64")}},
			{name: "an error is no change", err: errors.New("not now"), same: true},
			{name: "nor is its end", now: []socket.Interface{lo, eth, iface(4, "wifi", up|net.FlagRunning, "10.0.0.2/16", "fe80::1/64")}, same: true},
			{name: "it goes", now: []socket.Interface{lo, eth}},
			{name: "all go", now: nil},
		} {
			h.set(change.err, change.now...)
			start := time.Now()
			time.Sleep(5 * pollInterval)
			synctest.Wait()
			if change.same {
				require.Empty(t, reported, change.name)
				continue
			}
			require.Len(t, reported, 1, change.name)
			require.Equal(t, pollInterval-time.Second, (<-reported).Sub(start), change.name)
		}
		require.Equal(t, 1+17*5, h.looks)
		h.set(nil, eth)
		stop()
		time.Sleep(time.Hour)
		require.Empty(t, reported, "after stop")
		require.Equal(t, 1+17*5, h.looks)
	})
}

// What is compared is what package net says.
func TestInterfacesOfPackageNet(t *testing.T) {
	want, err := net.Interfaces()
	require.NoError(t, err)
	for { // until nothing changes meanwhile
		ifs, err := netInterfaces()
		require.NoError(t, err)
		before := want
		want, err = net.Interfaces()
		require.NoError(t, err)
		if !reflect.DeepEqual(before, want) {
			continue
		}
		require.Len(t, ifs, len(want))
		for i, ifi := range ifs {
			require.Equal(t, want[i], ifi.Interface)
			if want[i].Flags&net.FlagLoopback != 0 && want[i].Flags&net.FlagUp != 0 {
				require.Contains(t, ifi.Addrs, netip.MustParsePrefix("127.0.0.1/8"))
			}
		}
		return
	}
}
