package faults_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// With any number of descriptors left, from none on, whatever needs one works or fails
// with a *net.OpError; the socket stays usable, and nothing leaks.
func TestExhaustedDescriptors(t *testing.T) {
	netns.Isolated(t, func() { // a process of its own, whose limit changes
		ctx := context.Background()
		group := netip.MustParseAddr("239.1.2.3")
		lo, err := net.InterfaceByName("lo")
		require.NoError(t, err)
		handler := func(int) udp.Handler { return udp.BaseHandler{} }
		echo := func(c *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) }
		server := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(echo))
		other := sockettest.Listen(t, udp.Config{}, "udp4", udp.HandlerFunc(echo))
		var old unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
		warm, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{}, group)
		require.NoError(t, err)
		sockettest.Stop(t, warm)

		q := udp.NewQueue(10, udp.Block)
		client := sockettest.Dial(t, server.LocalAddrPort(), q)
		member, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, member)
		for name, call := range map[string]func() error{
			"Listen": func() error {
				c, err := udp.Listen(ctx, "udp", ":0", udp.BaseHandler{})
				if err == nil {
					sockettest.Stop(t, c)
				}
				return err
			},
			"Dial": func() error {
				c, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), udp.BaseHandler{})
				if err == nil {
					sockettest.Stop(t, c)
				}
				return err
			},
			"ListenMulticast": func() error {
				m, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.BaseHandler{}, group)
				if err == nil {
					sockettest.Stop(t, m)
				}
				return err
			},
			"Join": func() error {
				err := member.Join(group, lo)
				if err == nil {
					require.NoError(t, member.Leave(group))
				}
				return err
			},
			"Reconnect": func() error {
				if err := client.Reconnect(other.LocalAddrPort()); err != nil {
					return err
				}
				return client.Reconnect(server.LocalAddrPort())
			},
			"ListenGroup": func() error {
				g, err := udp.Config{}.ListenGroup(ctx, 4, "udp4", "127.0.0.1:0", handler)
				if err == nil {
					require.NoError(t, g.Close())
					<-g.Done()
				}
				return err
			},
			"ListenPacket": func() error {
				c, err := udp.Config{}.ListenPacket(ctx, "udp4", "127.0.0.1:0")
				if err == nil {
					require.NoError(t, c.Close())
				}
				return err
			},
		} {
			before, worked := sockettest.Descriptors(t), false
			// The lowest number that no descriptor has: as many as n more can be opened.
			lowest := func() int {
				f, err := os.Open("/dev/null")
				require.NoError(t, err)
				defer f.Close()
				return int(f.Fd())
			}()
			for n := 0; n <= 16 && !worked; n++ {
				require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest + n), Max: old.Max}))
				err := call()
				require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
				if err != nil {
					var op *net.OpError
					require.ErrorAs(t, err, &op, "%s with %d", name, n)
					require.True(t, errors.Is(err, unix.EMFILE), "%s with %d: %v", name, n, err)
				}
				worked = err == nil
				t.Logf("%-15s %2d descriptors left: %v", name, n, err)
				require.Equal(t, before, sockettest.Descriptors(t), "%s with %d", name, n)

				require.NoError(t, client.Send([]byte("still there")))
				require.Equal(t, "still there", string(sockettest.Next(t, q.Datagrams()).Data))
			}
			require.True(t, worked, "%s", name)
		}
	})
}
