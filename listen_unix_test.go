//go:build unix

package udp_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A program that is started meanwhile inherits no socket, and none of them blocks
// a thread; also those that package net has not made.
//
// Twisted: L5
func TestDescriptorsAreNotInheritedAndNeverBlock(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	bound, err := udp.ListenMulticast(t.Context(), "udp4", netip.AddrPortFrom(group, 0).String(), udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, bound)
	for name, c := range map[string]*udp.Conn{
		"Listen":                     sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{}),
		"Dial":                       sockettest.Dial(t, sockettest.AddrPort(sockettest.ListenNet(t, "udp4")), udp.BaseHandler{}).Conn,
		"ListenMulticast to a group": bound.Conn,
	} {
		t.Run(name, func(t *testing.T) {
			rc, err := c.SyscallConn()
			require.NoError(t, err)
			var descriptor, status int
			require.NoError(t, rc.Control(func(fd uintptr) {
				descriptor, err = unix.FcntlInt(fd, unix.F_GETFD, 0)
				require.NoError(t, err)
				status, err = unix.FcntlInt(fd, unix.F_GETFL, 0)
				require.NoError(t, err)
			}))
			require.NotZero(t, descriptor&unix.FD_CLOEXEC)
			require.NotZero(t, status&unix.O_NONBLOCK)
		})
	}
}
