package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
)

// twoHosts are joined by eth0 of each, with addresses .1 and ::1, .2 and ::2.
func twoHosts(t *testing.T) (here, there *netns.NS) {
	t.Helper()
	here, there = netns.New(t), netns.New(t)
	netns.Veth(t, here, "eth0", there, "eth0")
	for i, ns := range []*netns.NS{here, there} {
		ns.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", i+1))
		ns.Addr("eth0", fmt.Sprintf("2001:db8::%d/64", i+1))
	}
	return here, there
}

// destroy aborts the sockets on a port, as Android does when a network goes, and
// Cilium when a backend does.
func destroy(t *testing.T, ns *netns.NS, port uint16) {
	t.Helper()
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("destroying a socket needs ss(8):", err)
	}
	out := ns.Command("ss", "-K", "-uanH", "sport", "=", fmt.Sprint(":", port))
	if strings.TrimSpace(out) == "" {
		t.Skip("the kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY)")
	}
}

// echoIn answers on every address of a namespace.
func echoIn(t *testing.T, ns *netns.NS) *udp.Conn {
	t.Helper()
	var c *udp.Conn
	var err error
	ns.Do(func() {
		c, err = udp.Listen(t.Context(), "udp", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) }))
	})
	require.NoError(t, err)
	closes(t, c)
	return c
}

// A connected socket that is destroyed associates itself again, with the port that
// it had, and no send fails meanwhile.
func TestAConnectedSocketSurvivesItsDestruction(t *testing.T) {
	netns.Run(t, func() {
		here, there := twoHosts(t)
		server := echoIn(t, there)
		for _, peer := range []string{"192.0.2.2", "2001:db8::2"} {
			for _, finds := range []string{"reader", "sender"} {
				t.Run(peer+" "+finds, func(t *testing.T) {
					h := newRecorder()
					var c *udp.ConnectedConn
					var err error
					here.Do(func() {
						c, err = udp.Dial(t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr(peer), server.LocalAddrPort().Port()).String(), h)
					})
					require.NoError(t, err)
					closes(t, c)
					h.next(t, "Started")
					local := c.LocalAddrPort()
					destroy(t, here, local.Port())
					if finds == "reader" {
						require.Eventually(t, func() bool { return c.Stats().Rebinds > 0 }, patience, 1e6)
						there.Do(func() { require.NoError(t, server.SendTo([]byte("unasked"), local)) })
						require.Equal(t, "unasked", h.next(t, "Received").data)
					}
					for range 10 {
						require.NoError(t, c.Send([]byte("again")))
						e := h.next(t, "Received")
						require.Equal(t, "again", e.data)
					}
					require.Equal(t, local, c.LocalAddrPort())
					s := c.Stats()
					require.EqualValues(t, 1, s.Rebinds)
					require.Zero(t, s.ReadErrors+s.SendErrors)
				})
			}
		}
	})
}

// Sockets without a peer, also those that are bound to an interface or members of
// groups, go on hearing what they heard.
func TestAListenerSurvivesItsDestruction(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	bound := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
		return err
	}}
	netns.Run(t, func() {
		here, there := twoHosts(t)
		there.IP("route add 239.0.0.0/8 dev eth0")
		sender := echoIn(t, there)
		for _, test := range []struct {
			address string
			cfg     udp.Config
		}{{":0", udp.Config{}}, {"192.0.2.1:0", udp.Config{}}, {":7007", udp.Config{}}, {"192.0.2.1:7007", udp.Config{}}, {":0", bound}} {
			t.Run(fmt.Sprint(test.address, " ", test.cfg.Control != nil), func(t *testing.T) {
				h := newRecorder()
				var c *udp.Conn
				var err error
				rebinds := make(chan struct{}, 10)
				test.cfg.Trace = &udp.Trace{Rebind: func(*udp.Conn) { rebinds <- struct{}{} }}
				here.Do(func() { c, err = test.cfg.Listen(t.Context(), "udp", test.address, h) })
				require.NoError(t, err)
				closes(t, c)
				h.next(t, "Started")
				port := c.LocalAddrPort().Port()
				for n := 1; n <= 2; n++ {
					destroy(t, here, port)
					require.Eventually(t, func() bool { return c.Stats().Rebinds == uint64(n) }, patience, 1e6)
					next(t, rebinds) // before anything else arrives
					require.NoError(t, sender.SendTo([]byte("after"), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)))
					require.Equal(t, "after", h.next(t, "Received").data)
				}
				if test.cfg.Control != nil {
					rc, err := c.SyscallConn()
					require.NoError(t, err)
					var device string
					require.NoError(t, rc.Control(func(fd uintptr) {
						device, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
					}))
					require.NoError(t, err)
					require.Equal(t, "eth0", strings.TrimRight(device, "\x00"))
				}
			})
		}
		t.Run("multicast", func(t *testing.T) {
			h := newRecorder()
			var m *udp.MulticastConn
			var err error
			here.Do(func() { m, err = udp.ListenMulticast(t.Context(), "udp4", ":0", h, group) })
			require.NoError(t, err)
			closes(t, m)
			h.next(t, "Started")
			port := m.LocalAddrPort().Port()
			destroy(t, here, port)
			require.Eventually(t, func() bool { return m.Stats().Rebinds == 1 }, patience, 1e6)
			require.NoError(t, sender.SendTo([]byte("group"), netip.AddrPortFrom(group, port)))
			require.Equal(t, "group", h.next(t, "Received").data)
		})
	})
}

// A socket whose port is somebody else's by the time that it could be bound again
// stops, and says why.
func TestASocketThatCannotBeRepairedStops(t *testing.T) {
	netns.Run(t, func() {
		here, there := twoHosts(t)
		server := echoIn(t, there)
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprint("connected ", connected), func(t *testing.T) {
				h := newRecorder()
				var c *udp.Conn
				var err error
				here.Do(func() {
					uc, lerr := net.ListenUDP("udp4", nil) // the system has chosen its port
					require.NoError(t, lerr)
					// The kernel gives the port up when the socket is destroyed; somebody else has
					// it then. SO_REUSEADDR lets that happen now.
					setOption(t, uc, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
					reuse := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
						rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
						return err
					}}
					other, lerr := reuse.ListenPacket(t.Context(), "udp4", fmt.Sprint("127.0.0.1:", addrPort(uc).Port()))
					require.NoError(t, lerr)
					t.Cleanup(func() { other.Close() })
					setOption(t, other.(*net.UDPConn), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
					c, err = udp.Config{}.Adopt(uc, h)
					require.NoError(t, err)
				})
				h.next(t, "Started")
				require.False(t, c.Info().PortKept)
				port := c.LocalAddrPort().Port()
				if connected {
					_, err = c.Connect(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), server.LocalAddrPort().Port()))
					require.NoError(t, err)
				}
				destroy(t, here, port)
				e := h.next(t, "Stopped")
				require.ErrorIs(t, e.err, syscall.ECONNABORTED)
				require.ErrorIs(t, e.err, syscall.EADDRINUSE)
				requireOpError(t, e.err, "read")
				next(t, c.Done())
			})
		}
	})
}

// The port of a socket is never free while its peer changes.
func TestThePortStaysBoundWhileThePeerChanges(t *testing.T) {
	for _, network := range networks(t) {
		t.Run(network, func(t *testing.T) {
			peers := [2]netip.AddrPort{addrPort(raw(t, network)), addrPort(raw(t, network))}
			c := dial(t, peers[0], udp.BaseHandler{})
			require.True(t, c.Info().PortKept)
			local := c.LocalAddrPort()
			ctx, cancel := context.WithCancel(t.Context())
			stolen := make(chan error)
			go func() {
				for ctx.Err() == nil {
					uc, err := net.ListenUDP(network, &net.UDPAddr{Port: int(local.Port())})
					if err == nil {
						uc.Close()
						stolen <- fmt.Errorf("%v was free", local)
						return
					}
				}
				close(stolen)
			}()
			for i := range 2000 {
				assert.NoError(t, c.Reconnect(peers[i%2]))
				u, err := c.Disconnect()
				if assert.NoError(t, err) {
					_, err = u.Connect(peers[i%2])
					assert.NoError(t, err)
				}
				if t.Failed() {
					break
				}
			}
			cancel()
			require.NoError(t, <-stolen)
			require.Equal(t, local, c.LocalAddrPort())
		})
	}
}
