package faults_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// opener is a call that needs something of the system. It returns how to undo it.
type opener struct {
	name string
	open func() (undo func(), err error)
}

// openers are the calls that need descriptors and memory. client has a peer that replies to
// what it sends.
func openers(t *testing.T) (calls []opener, client *udp.ConnectedConn, replies *udp.Queue) {
	ctx := context.Background()
	group := netip.MustParseAddr("239.1.2.3")
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	echo := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) })
	server := sockettest.Listen(t, udp.Config{}, "udp4", echo)
	other := sockettest.Listen(t, udp.Config{}, "udp4", echo)
	warm, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{}, group)
	require.NoError(t, err)
	sockettest.Stop(t, warm)
	replies = udp.NewQueue(10, udp.Block)
	client = sockettest.Dial(t, server.LocalAddrPort(), replies)
	member, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, member)
	stop := func(c *udp.Conn) func() { return func() { sockettest.Stop(t, c) } }
	return []opener{
		{"Listen", func() (func(), error) {
			c, err := udp.Listen(ctx, "udp", ":0", udp.BaseHandler{})
			return stop(c), err
		}},
		{"Dial", func() (func(), error) {
			c, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), udp.BaseHandler{})
			if err != nil {
				return nil, err
			}
			return stop(c.Conn), nil
		}},
		{"ListenMulticast", func() (func(), error) {
			m, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{}, group)
			if err != nil {
				return nil, err
			}
			return stop(m.Conn), nil
		}},
		{"Join", func() (func(), error) {
			err := member.Join(group, lo)
			return func() { require.NoError(t, member.Leave(group)) }, err
		}},
		{"Join of many", func() (func(), error) { // more than one socket can have (IP_MAX_MEMBERSHIPS)
			var joined []netip.Addr
			leave := func() {
				for _, g := range joined {
					require.NoError(t, member.Leave(g))
				}
			}
			for i := range 50 {
				g := netip.AddrFrom4([4]byte{239, 2, 2, byte(i)})
				if err := member.Join(g, lo); err != nil {
					leave()
					return nil, err
				}
				joined = append(joined, g)
			}
			return leave, nil
		}},
		{"Reconnect", func() (func(), error) {
			err := client.Reconnect(other.LocalAddrPort())
			return func() { require.NoError(t, client.Reconnect(server.LocalAddrPort())) }, err
		}},
		{"ListenGroup", func() (func(), error) {
			g, err := udp.Config{}.ListenGroup(ctx, 4, "udp4", "127.0.0.1:0", func(int) udp.Handler { return udp.BaseHandler{} })
			return func() { sockettest.Stop(t, g) }, err
		}},
		{"ListenPacket", func() (func(), error) {
			c, err := udp.Config{}.ListenPacket(ctx, "udp4", "127.0.0.1:0")
			return func() { require.NoError(t, c.Close()) }, err
		}},
		{"DialContext", func() (func(), error) {
			c, err := udp.Config{}.DialContext(ctx, "udp4", server.LocalAddrPort().String())
			return func() { require.NoError(t, c.Close()) }, err
		}},
	}, client, replies
}

// exhaust makes each call with less than it needs, beginning with nothing, until it succeeds.
// with calls its argument while only so much is available. Every failure is a *net.OpError with
// one of the reasons and leaks nothing, and existing sockets continue to work.
func exhaust(t *testing.T, most int, reasons []error, with func(left int, f func())) {
	calls, client, replies := openers(t)
	failed := 0
	for _, call := range calls {
		undo, err := call.open() // allocates what is needed only once
		require.NoError(t, err)
		undo()
		goroutines, before, worked := runtime.NumGoroutine(), sockettest.Descriptors(t), false
		for left := 0; left <= most && !worked; left++ {
			var undo func()
			var err error
			with(left, func() { undo, err = call.open() })
			t.Logf("%-15s with %2d left: %v", call.name, left, err)
			if worked = err == nil; worked {
				undo()
			} else {
				failed++
				var op *net.OpError
				require.ErrorAs(t, err, &op, "%s with %d", call.name, left)
				named := false
				for _, reason := range reasons {
					named = named || errors.Is(err, reason)
				}
				require.True(t, named, "%s with %d: %v", call.name, left, err)
			}
			require.Equal(t, before, sockettest.Descriptors(t), "%s with %d", call.name, left)
			sockettest.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines })

			require.NoError(t, client.Send([]byte("still there")))
			require.Equal(t, "still there", string(sockettest.Next(t, replies.Datagrams()).Data))
		}
		require.True(t, worked, call.name)
	}
	require.Positive(t, failed)
}

func TestExhaustedDescriptors(t *testing.T) {
	netns.Isolated(t, func() { // a process of its own, whose limit changes
		var old unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
		exhaust(t, 16, []error{unix.EMFILE}, func(left int, f func()) {
			// From the lowest free number on, left more descriptors can be opened.
			null, err := os.Open("/dev/null")
			require.NoError(t, err)
			lowest := int(null.Fd())
			require.NoError(t, null.Close())
			require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest + left), Max: old.Max}))
			f()
			require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
		})
	})
}
