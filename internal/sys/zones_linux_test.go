package sys

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// A zone that was used lately costs nothing but looking, in both directions, and
// by its index too; as many zones as a host has.
func TestAZoneIsRememberedWithoutAllocating(t *testing.T) {
	netns.Run(t, func() {
		ns, c := zonedConn(t)
		names := cables(t, ns, 16)
		indexes := make([]uint32, len(names))
		numbers := make([]string, len(names))
		for i, name := range names {
			indexes[i] = uint32(ns.Interface(name).Index)
			numbers[i] = strconv.Itoa(int(indexes[i]))
		}
		wrong := 0
		look := func() {
			for i, name := range names {
				if c.indexOf(name) != indexes[i] || c.nameOf(indexes[i]) != name || c.indexOf(numbers[i]) != indexes[i] {
					wrong++
				}
			}
		}
		// A name is asked for again after a second, which may come in between.
		least := testing.AllocsPerRun(10, look)
		for range 10 {
			least = min(least, testing.AllocsPerRun(10, look))
		}
		require.Zero(t, least)
		require.Zero(t, wrong)
	})
}

// zonedConn is a socket in a namespace that none of the test's threads is in.
func zonedConn(t *testing.T) (*netns.NS, *Conn) {
	t.Helper()
	ns := netns.New(t)
	var c *Conn
	ns.Do(func() { c = open(t, "udp4", "127.0.0.1:0", socket.Options{}) })
	return ns, c
}

// cables makes n interfaces.
func cables(t *testing.T, ns *netns.NS, n int) (names []string) {
	t.Helper()
	for i := range n {
		names = append(names, fmt.Sprintf("zone%d", i))
	}
	for i := 0; i < n; i += 2 {
		netns.Veth(t, ns, names[i], ns, names[i+1])
	}
	return names
}

// Interfaces are distinguished, and so is one that takes another's name.
func TestManyZones(t *testing.T) {
	netns.Run(t, func() {
		ns, c := zonedConn(t)
		names := cables(t, ns, 6)
		for range 3 {
			for _, name := range names {
				index := uint32(ns.Interface(name).Index)
				require.Equal(t, index, c.indexOf(name))
				require.Equal(t, name, c.nameOf(index))
			}
		}
		last := uint32(ns.Interface("zone5").Index)
		ns.IP("link set zone5 down")
		ns.IP("link set zone5 name other")
		require.Equal(t, last, c.indexOf("other"))
		require.Equal(t, "other", c.nameOf(last), "what is known is corrected")
		require.Zero(t, c.indexOf("zone5"))
		_, ok := c.Zone("zone5")
		require.False(t, ok)
	})
}

// However many zones are asked for, a look stays short.
func TestRememberedZonesAreBounded(t *testing.T) {
	var z zoneCache
	for i := range 10 * maxZones {
		z.remember(zone{index: uint32(i), name: strconv.Itoa(i), until: time.Unix(int64(i), 0)})
	}
	require.Len(t, z.known, maxZones)
	kept := map[uint32]bool{}
	for _, k := range z.known {
		kept[k.index] = true
	}
	for i := 9 * maxZones; i < 10*maxZones; i++ {
		require.True(t, kept[uint32(i)], "the newest")
	}
	z.remember(zone{index: 1, name: strconv.Itoa(10*maxZones - 1)})
	again := 0
	for _, k := range z.known {
		if k.name == strconv.Itoa(10*maxZones-1) {
			again++
		}
	}
	require.Equal(t, 1, again, "a name is one interface's")
}
