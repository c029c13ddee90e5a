package udp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// header is what a test looks at of a datagram.
type header struct {
	data  string
	ttl   int
	class uint8
}

// hearHeaders is a plain socket of package net that reads the headers of what arrives.
func hearHeaders(t *testing.T, network, address string) (at netip.AddrPort, next func() header) {
	t.Helper()
	r, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	rc, err := r.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		for _, o := range []int{unix.IP_RECVTOS, unix.IP_RECVTTL} {
			require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, o, 1))
		}
		if network == "udp6" {
			for _, o := range []int{unix.IPV6_RECVTCLASS, unix.IPV6_RECVHOPLIMIT} {
				require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, o, 1))
			}
		}
	}))
	b, oob := make([]byte, 2000), make([]byte, 200)
	return r.LocalAddr().(*net.UDPAddr).AddrPort(), func() (h header) {
		n, oobn, _, _, err := r.ReadMsgUDPAddrPort(b, oob)
		require.NoError(t, err)
		h.data = string(b[:n])
		cms, err := unix.ParseSocketControlMessage(oob[:oobn])
		require.NoError(t, err)
		for _, cm := range cms {
			switch [2]int32{cm.Header.Level, cm.Header.Type} {
			case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}:
				h.class = cm.Data[0]
			case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
				h.class = uint8(binary.NativeEndian.Uint32(cm.Data))
			case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
				h.ttl = int(binary.NativeEndian.Uint32(cm.Data))
			}
		}
		return h
	}
}

// A message's ECN does not clear the DSCP of its socket, whoever has set that, and
// neither does anything else that a message has of its own.
func TestECNLeavesTheDSCP(t *testing.T) {
	const dscp = 0xb8 // expedited forwarding
	byHand := func(rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp)
		})
	}
	for _, network := range sockettest.Networks(t) {
		for _, from := range []string{network, "udp"} {
			for _, how := range []string{"Config", "Control", "SyscallConn"} {
				for _, connected := range []bool{false, true} {
					t.Run(fmt.Sprintf("to %s by a socket of %s, set by %s, connected %v", network, from, how, connected), func(t *testing.T) {
						to, next := hearHeaders(t, network, sockettest.Loopback(network)+":0")
						var cfg udp.Config
						switch how {
						case "Config":
							cfg.TrafficClass = dscp
						case "Control":
							cfg.Control = func(_, _ string, rc syscall.RawConn) error { return byHand(rc) }
						}
						s := sockettest.ListenAt(t, cfg, from, ":0", udp.BaseHandler{})
						if how == "SyscallConn" {
							_, err := s.SendBatch([]udp.Message{{To: to, ECN: udp.ECT0}}) // it may remember that there is none
							require.NoError(t, err)
							require.EqualValues(t, udp.ECT0, next().class)
							rc, err := s.SyscallConn()
							require.NoError(t, err)
							require.NoError(t, byHand(rc))
						}
						if connected {
							_, err := s.Connect(to)
							require.NoError(t, err)
						}
						require.NoError(t, s.SendTo(nil, to))
						require.EqualValues(t, dscp, next().class)
						ms := []udp.Message{
							{Data: []byte("alone"), To: to, ECN: udp.ECT0},
							{Data: []byte("segment"), To: to, ECN: udp.ECT1}, {Data: []byte("segment"), To: to, ECN: udp.ECT1}, {Data: []byte("last"), To: to, ECN: udp.ECT1},
							{Data: []byte("not ECT"), To: to}, {Data: []byte("not ECT"), To: to},
							{Data: []byte("class"), To: to, TrafficClass: 0x48}, {Data: []byte("class"), To: to, TrafficClass: 0x48, ECN: udp.CE},
						}
						want := []uint8{dscp | 2, dscp | 1, dscp | 1, dscp | 1, dscp, dscp, 0x48, 0x48 | 3}
						n, err := s.SendBatch(ms)
						require.NoError(t, err)
						require.Equal(t, len(ms), n)
						for i := range ms {
							h := next()
							require.Equal(t, string(ms[i].Data), h.data)
							require.Equal(t, want[i], h.class, h.data)
						}
					})
				}
			}
		}
	}
}

// The TTL of a message comes before the socket's, in segmented sends too: messages
// of several TTLs are not segments of one.
func TestTTLOfSocketAndMessage(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for _, from := range []string{network, "udp"} {
			t.Run(fmt.Sprintf("to %s by a socket of %s", network, from), func(t *testing.T) {
				to, next := hearHeaders(t, network, sockettest.Loopback(network)+":0")
				s := sockettest.ListenAt(t, udp.Config{TTL: 33}, from, ":0", udp.BaseHandler{})
				require.NoError(t, s.SendTo([]byte("alone"), to))
				require.Equal(t, 33, next().ttl)
				var ms []udp.Message
				for _, ttl := range []int{0, 0, 1, 1, 255, 0, 7} {
					ms = append(ms, udp.Message{Data: []byte("datagram"), To: to, TTL: ttl})
				}
				n, err := s.SendBatch(ms)
				require.NoError(t, err)
				require.Equal(t, len(ms), n)
				for _, want := range []int{33, 33, 1, 1, 255, 33, 7} {
					require.Equal(t, want, next().ttl)
				}
			})
		}
	}
}

// Received datagrams have the TTL and class of their own, also when others of
// another TTL arrived beside them.
func TestReceivedTTLAndClass(t *testing.T) {
	for _, network := range sockettest.Networks(t) {
		for _, at := range []string{network, "udp"} {
			t.Run(fmt.Sprintf("%s to a socket of %s", network, at), func(t *testing.T) {
				received := make(chan header, 10)
				c := sockettest.ListenAt(t, udp.Config{}, at, ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					received <- header{string(d.Data), d.TTL(), d.TrafficClass()}
				}))
				to := netip.AddrPortFrom(netip.MustParseAddr(strings.Trim(sockettest.Loopback(network), "[]")), c.LocalAddrPort().Port())
				s := sockettest.ListenAt(t, udp.Config{TTL: 9, TrafficClass: 4}, network, sockettest.Loopback(network)+":0", udp.BaseHandler{})
				n, err := s.SendBatch([]udp.Message{
					{Data: []byte("a"), To: to}, {Data: []byte("b"), To: to}, {Data: []byte("c"), To: to, TTL: 200}, {Data: []byte("d"), To: to, TrafficClass: 0xb9},
				})
				require.NoError(t, err)
				require.Equal(t, 4, n)
				for _, want := range []header{{"a", 9, 4}, {"b", 9, 4}, {"c", 200, 4}, {"d", 9, 0xb9}} {
					got := sockettest.Next(t, received)
					if c.Info().Batch == 1 { // the portable path asks for neither here
						got.ttl, got.class = want.ttl, want.class
					}
					require.Equal(t, want, got)
				}
			})
		}
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for name, cfg := range map[string]udp.Config{
		"TTL below":             {TTL: -1},
		"TTL above":             {TTL: 256},
		"MTUDiscovery below":    {MTUDiscovery: -1},
		"MTUDiscovery above":    {MTUDiscovery: udp.MTUDiscoveryOmit + 1},
		"a port and no address": {LocalAddr: netip.AddrPortFrom(netip.Addr{}, 7)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
			require.ErrorIs(t, err, os.ErrInvalid)
		})
	}
}

// An adopted socket gets the options too.
func TestAdoptedSocketsGetOptions(t *testing.T) {
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	c, err := udp.Config{TTL: 12, TrafficClass: 0x20}.Adopt(uc, udp.BaseHandler{})
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, c)
	require.Equal(t, 12, sockettest.Option(t, c, unix.IPPROTO_IP, unix.IP_TTL))
	require.Equal(t, 0x20, sockettest.Option(t, c, unix.IPPROTO_IP, unix.IP_TOS))
	uc, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	_, err = udp.Config{Device: "nosuch0"}.Adopt(uc, udp.BaseHandler{})
	require.True(t, errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM), "%v", err)
	require.ErrorIs(t, uc.Close(), net.ErrClosed)
}

// However much is asked for, the buffer is not smaller than one of the default size.
func TestHugeBuffers(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("an int has 32 bits")
	}
	plain := sockettest.Listen(t, udp.Config{}, "udp4", udp.BaseHandler{}).Info()
	for _, shift := range []int{30, 31, 32, 40} {
		size := 1 << shift
		for _, more := range []int{-1, 0, 1, 1000} {
			i := sockettest.Listen(t, udp.Config{ReadBuffer: size + more, WriteBuffer: size + more}, "udp4", udp.BaseHandler{}).Info()
			require.GreaterOrEqual(t, i.ReadBuffer, plain.ReadBuffer, "%d", size+more)
			require.GreaterOrEqual(t, i.WriteBuffer, plain.WriteBuffer, "%d", size+more)
		}
	}
}

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
