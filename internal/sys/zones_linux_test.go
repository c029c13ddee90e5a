package sys

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// A zone that was used lately costs nothing but looking, in both directions, and
// by its index too.
func TestAZoneIsRememberedWithoutAllocating(t *testing.T) {
	s, err := Kernel{}.Open(context.Background(), "udp4", netip.MustParseAddrPort("127.0.0.1:0"), socket.Options{})
	require.NoError(t, err)
	defer s.Close()
	c := s.(*Conn)
	wrong := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if c.indexOf("lo") != 1 || c.nameOf(1) != "lo" || c.indexOf("1") != 1 {
			wrong++
		}
	}))
	require.Zero(t, wrong)
}

// More interfaces than are remembered are told apart all the same, and so is one
// that takes another's name.
func TestManyZones(t *testing.T) {
	netns.Run(t, func() {
		ns := netns.New(t)
		var s socket.Socket
		var err error
		ns.Do(func() {
			s, err = Kernel{}.Open(context.Background(), "udp4", netip.MustParseAddrPort("127.0.0.1:0"), socket.Options{})
		})
		require.NoError(t, err)
		defer s.Close()
		c := s.(*Conn)
		names := []string{"zone0", "zone1", "zone2", "zone3", "zone4", "zone5"}
		for i := 0; i < len(names); i += 2 {
			netns.Veth(t, ns, names[i], ns, names[i+1])
		}
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
