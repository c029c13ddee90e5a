package faults_test

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
	"github.com/udpkit/udp/internal/sockettest"
)

// destroy destroys the sockets on a port, as Android does when a network disappears, and
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

// A connected socket that is destroyed connects again, from the same port, and no send fails.
func TestAConnectedSocketSurvivesItsDestruction(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		server := sockettest.EchoIn(t, there)
		for _, peer := range []string{"192.0.2.2", "2001:db8::2"} {
			for _, finds := range []string{"reader", "sender"} {
				t.Run(peer+" "+finds, func(t *testing.T) {
					h := sockettest.NewRecorder()
					var c *udp.ConnectedConn
					var err error
					here.Do(func() {
						c, err = udp.Dial(t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr(peer), server.LocalAddrPort().Port()).String(), h)
					})
					require.NoError(t, err)
					sockettest.CloseAtEnd(t, c)
					h.Next(t, "Started")
					local := c.LocalAddrPort()
					destroy(t, here, local.Port())
					if finds == "reader" {
						require.Eventually(t, func() bool { return c.Stats().Rebinds > 0 }, sockettest.Patience, 1e6)
						there.Do(func() { require.NoError(t, server.SendTo([]byte("unasked"), local)) })
						require.Equal(t, "unasked", h.Next(t, "Received").Data)
					}
					for range 10 {
						require.NoError(t, c.Send([]byte("again")))
						e := h.Next(t, "Received")
						require.Equal(t, "again", e.Data)
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

// Unconnected sockets, including those that are bound to an interface or joined groups, receive
// the same as before.
func TestAListenerSurvivesItsDestruction(t *testing.T) {
	group := netip.MustParseAddr("239.1.2.3")
	bound := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
		return err
	}}
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		there.IP("route add 239.0.0.0/8 dev eth0")
		sender := sockettest.EchoIn(t, there)
		for _, test := range []struct {
			address string
			cfg     udp.Config
		}{{":0", udp.Config{}}, {"192.0.2.1:0", udp.Config{}}, {":7007", udp.Config{}}, {"192.0.2.1:7007", udp.Config{}}, {":0", bound}} {
			t.Run(fmt.Sprint(test.address, " ", test.cfg.Control != nil), func(t *testing.T) {
				h := sockettest.NewRecorder()
				var c *udp.Conn
				var err error
				rebinds := make(chan struct{}, 10)
				test.cfg.Trace = &udp.Trace{Rebind: func(*udp.Conn) { rebinds <- struct{}{} }}
				here.Do(func() { c, err = test.cfg.Listen(t.Context(), "udp", test.address, h) })
				require.NoError(t, err)
				sockettest.CloseAtEnd(t, c)
				h.Next(t, "Started")
				port := c.LocalAddrPort().Port()
				for n := 1; n <= 2; n++ {
					destroy(t, here, port)
					require.Eventually(t, func() bool { return c.Stats().Rebinds == uint64(n) }, sockettest.Patience, 1e6)
					sockettest.Next(t, rebinds) // before anything else arrives
					require.NoError(t, sender.SendTo([]byte("after"), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)))
					require.Equal(t, "after", h.Next(t, "Received").Data)
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
			h := sockettest.NewRecorder()
			var m *udp.MulticastConn
			var err error
			here.Do(func() { m, err = udp.ListenMulticast(t.Context(), "udp4", ":0", h, group) })
			require.NoError(t, err)
			sockettest.CloseAtEnd(t, m)
			h.Next(t, "Started")
			port := m.LocalAddrPort().Port()
			destroy(t, here, port)
			require.Eventually(t, func() bool { return m.Stats().Rebinds == 1 }, sockettest.Patience, 1e6)
			require.NoError(t, sender.SendTo([]byte("group"), netip.AddrPortFrom(group, port)))
			require.Equal(t, "group", h.Next(t, "Received").Data)
		})
	})
}

// So do sockets that their callers read, and adopted ones. A waiting read continues to wait, and
// a write is sent.
func TestAPacketConnSurvivesItsDestruction(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		server := sockettest.EchoIn(t, there)
		for _, peer := range []string{"192.0.2.2", "2001:db8::2"} {
			at := netip.AddrPortFrom(netip.MustParseAddr(peer), server.LocalAddrPort().Port())
			for name, open := range map[string]func() (net.Conn, error){
				"dialed":   func() (net.Conn, error) { return udp.Config{}.DialContext(t.Context(), "udp", at.String()) },
				"listener": func() (net.Conn, error) { return udp.Config{}.ListenPacket(t.Context(), "udp", ":0") },
				"adopted": func() (net.Conn, error) {
					uc, err := net.ListenUDP("udp", nil)
					if err != nil {
						return nil, err
					}
					return udp.Config{}.AdoptPacket(uc)
				},
				"adopted, dialed": func() (net.Conn, error) {
					uc, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
					if err != nil {
						return nil, err
					}
					return udp.Config{}.AdoptPacket(uc)
				},
			} {
				t.Run(peer+" "+name, func(t *testing.T) {
					var c net.Conn
					var err error
					here.Do(func() { c, err = open() })
					require.NoError(t, err)
					pc := c.(*udp.PacketConn)
					defer pc.Close()
					read := make(chan string, 10)
					go func() {
						defer close(read)
						b := make([]byte, 10)
						for {
							n, _, err := pc.ReadFrom(b)
							if err != nil {
								return
							}
							read <- string(b[:n])
						}
					}()
					send := func() error {
						if pc.RemoteAddr() != nil {
							_, err = pc.Write([]byte("again"))
						} else {
							_, err = pc.WriteToUDPAddrPort([]byte("again"), at)
						}
						return err
					}
					port := pc.LocalAddr().(*net.UDPAddr).Port
					for n := 1; n <= 2; n++ {
						destroy(t, here, uint16(port))
						require.NoError(t, send())
						require.Equal(t, "again", sockettest.Next(t, read))
						require.Equal(t, port, pc.LocalAddr().(*net.UDPAddr).Port)
						if pc.RemoteAddr() != nil { // others may be bound still: when a write meets the error, nothing is to be repaired
							require.EqualValues(t, n, pc.Stats().Rebinds)
						}
					}
					require.NoError(t, pc.Close())
					for range read {
					}
					sockettest.CountersAgree(t, pc.Stats())
				})
			}
		}
	})
}

// A socket stops with the reason if another one took its port before it could bind again.
func TestASocketThatCannotBeRepairedStops(t *testing.T) {
	netns.Run(t, func() {
		here, there := sockettest.TwoHosts(t)
		server := sockettest.EchoIn(t, there)
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprint("connected ", connected), func(t *testing.T) {
				h := sockettest.NewRecorder()
				var c *udp.Conn
				var err error
				here.Do(func() {
					uc, lerr := net.ListenUDP("udp4", nil) // the system has chosen its port
					require.NoError(t, lerr)
					// The kernel releases the port of a destroyed socket, and another one may take
					// it. With SO_REUSEADDR that can happen before.
					sockettest.SetOption(t, uc, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
					reuse := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
						rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
						return err
					}}
					other, lerr := reuse.ListenPacket(t.Context(), "udp4", fmt.Sprint("127.0.0.1:", sockettest.AddrPort(uc).Port()))
					require.NoError(t, lerr)
					t.Cleanup(func() { other.Close() })
					sockettest.SetOption(t, other.(*net.UDPConn), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
					c, err = udp.Config{}.Adopt(uc, h)
					require.NoError(t, err)
				})
				h.Next(t, "Started")
				require.False(t, c.Info().PortKept)
				port := c.LocalAddrPort().Port()
				if connected {
					_, err = c.Connect(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), server.LocalAddrPort().Port()))
					require.NoError(t, err)
				}
				destroy(t, here, port)
				e := h.Next(t, "Stopped")
				require.ErrorIs(t, e.Err, syscall.ECONNABORTED)
				require.ErrorIs(t, e.Err, syscall.EADDRINUSE)
				sockettest.RequireOpError(t, e.Err, "read")
				sockettest.Next(t, c.Done())
			})
		}
	})
}

// The port of a socket is never free while its peer changes.
func TestThePortStaysBoundWhileThePeerChanges(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		t.Run(network, func(t *testing.T) {
			peers := [2]netip.AddrPort{sockettest.AddrPort(sockettest.ListenNet(t, network)), sockettest.AddrPort(sockettest.ListenNet(t, network))}
			c := sockettest.Dial(t, peers[0], udp.BaseHandler{})
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
			changes := 2000
			if testing.Short() {
				changes = 200
			}
			for i := range changes {
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
