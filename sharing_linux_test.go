package udp_test

import (
	"context"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// A port can be shared only by a program that offers it: without ReuseAddr and
// ReusePort nobody binds to it, whatever options and address another socket has. With
// ReuseAddr Linux gives unicast to the socket that was bound last.
func TestNobodySharesAPortThatWasNotOffered(t *testing.T) {
	every := udp.Config{ReuseAddr: true, ReusePort: true}
	for _, own := range []string{"127.0.0.1:0", ":0"} {
		c := sockettest.ListenAt(t, udp.Config{}, "udp4", own, udp.BaseHandler{})
		_, port, err := net.SplitHostPort(c.LocalAddrPort().String())
		require.NoError(t, err)
		for _, network := range []string{"udp", "udp4"} {
			for _, host := range []string{"127.0.0.1", "0.0.0.0", ""} {
				_, err := every.Listen(context.Background(), network, net.JoinHostPort(host, port), udp.BaseHandler{})
				require.ErrorIs(t, err, unix.EADDRINUSE, "%s on %s", network, host)
			}
		}
	}
	first, second := udp.NewQueue(1, udp.Block), udp.NewQueue(1, udp.Block)
	c := sockettest.ListenAt(t, udp.Config{ReuseAddr: true}, "udp4", "127.0.0.1:0", first)
	sockettest.ListenAt(t, udp.Config{ReuseAddr: true}, "udp4", c.LocalAddrPort().String(), second)
	require.NoError(t, sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{}).Send([]byte("taken")))
	require.Equal(t, "taken", string(sockettest.Next(t, second.Datagrams()).Data))
}

// A port that was opened with ReusePort is shared by the same user only (inet_rcv_saddr_equal
// and udp_lib_lport_inuse in net/ipv4/udp.c), also a group's.
func TestAnotherUserDoesNotShareThePort(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	reuse := udp.Config{ReusePort: true}
	c := sockettest.ListenAt(t, reuse, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	g, err := udp.Config{}.ListenGroup(context.Background(), 2, "udp4", "127.0.0.1:0", func(int) udp.Handler { return udp.BaseHandler{} })
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()); sockettest.Next(t, g.Done()) }()
	for _, at := range []string{c.LocalAddrPort().String(), g.LocalAddrPort().String()} {
		mine, err := reuse.Listen(context.Background(), "udp4", at, udp.BaseHandler{})
		require.NoError(t, err)
		sockettest.Stop(t, mine)
		asNobody(t, func() { _, err = reuse.Listen(context.Background(), "udp4", at, udp.BaseHandler{}) })
		require.ErrorIs(t, err, unix.EADDRINUSE)
	}
}

// asNobody calls f while the thread, and no other, has another effective user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	become := func(uid uintptr) {
		_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uid, same)
		require.Zero(t, e)
	}
	become(65534)
	defer become(0)
	f()
}
