package udp_test

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// What the toolkit refuses by itself is no system call's error, though it has its
// errno, and says what is wrong.
func TestWhatTheToolkitRefusesNamesNoSystemCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group, other := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("239.1.2.4")
		source := netip.MustParseAddr("10.0.0.1")
		l := newLab(t, "udp4")
		bound, err := udp.Config{Network: l.net}.ListenMulticast(t.Context(), "udp4", "239.1.2.3:0", udp.BaseHandler{})
		require.NoError(t, err)
		defer sockettest.Stop(t, bound)
		for _, test := range []struct {
			err   error
			errno syscall.Errno
			says  string
		}{
			{l.m.Join(source), syscall.EINVAL, "10.0.0.1 is not a multicast group"},
			{l.m.JoinSource(group, other), syscall.EINVAL, "239.1.2.4 cannot be a source"},
			{l.m.SetMulticastTTL(256), syscall.EINVAL, "256"},
			{l.m.SetMulticastInterface(&net.Interface{Name: "nothing"}), syscall.ENODEV, "no such interface"},
			{l.m.Leave(group), syscall.EADDRNOTAVAIL, "not joined"},
			{l.m.BlockSource(group, source), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.UnblockSource(group, source), syscall.EADDRNOTAVAIL, "not blocked"},
			{bound.Join(other), syscall.EINVAL, "bound to 239.1.2.3"},
			{bound.JoinSource(other, source), syscall.EINVAL, "bound to 239.1.2.3"},
			{bound.Leave(other), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.LeaveSource(other, source), syscall.EADDRNOTAVAIL, "not joined"},
			{bound.BlockSource(other, source), syscall.EADDRNOTAVAIL, "not joined"},
		} {
			require.ErrorIs(t, test.err, test.errno, test.says)
			require.ErrorContains(t, test.err, test.says)
			require.NotErrorAs(t, test.err, new(*os.SyscallError))
			require.ErrorAs(t, test.err, new(*net.OpError))
		}
	})
}
