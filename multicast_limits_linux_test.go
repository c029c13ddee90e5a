package udp_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
)

// What is blocked of a group over the limit is kept out by the kernel too, as far
// as routers and switches learn of it. Below the limit again the socket is as it
// was: it lets in nothing that only others have joined.
func TestOverTheLimitAndBelowIt(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		cable(t, here, there)
		reportsOnce(here)
		fd := sniff(t, there, "eth")
		groups := manyGroups(false, 21)
		last := groups[20]
		receiver := joinIn(t, here, udp.Config{}, "udp4", ":0", groups...)
		require.False(t, receiver.Info().MulticastFilter)
		awaitReport(t, fd, "to exclude", last)
		source := netip.MustParseAddr("192.0.2.50")
		require.NoError(t, receiver.BlockSource(last, source))
		awaitReport(t, fd, "block", last, source)
		require.NoError(t, receiver.UnblockSource(last, source))
		awaitReport(t, fd, "allow", last, source)

		require.NoError(t, receiver.Leave(last))
		require.Empty(t, kernelHas(t, here, last))
		require.True(t, receiver.Info().MulticastFilter)
		here.Do(func() { strangerJoins(t, "udp4", last) })
		sender := joinIn(t, there, udp.Config{}, "udp4", ":0")
		for _, group := range []netip.Addr{last, groups[0]} {
			_, err := sender.SendGroup([]byte(group.String()), group, receiver.port(), there.Interface("eth"))
			require.NoError(t, err)
		}
		require.Equal(t, groups[0].String(), string(next(t, receiver.queue.Datagrams()).Data))
		require.Zero(t, receiver.Stats().Dropped.Stranger, "the kernel does it")

		require.NoError(t, receiver.Join(last))
		require.False(t, receiver.Info().MulticastFilter)
		hears(t, receiver, sender, last, "eth")
	})
}
