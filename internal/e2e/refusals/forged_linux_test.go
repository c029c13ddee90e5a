package refusals_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// forge makes the host of ns report that a datagram between two of its sockets could not be
// delivered. On loopback the message has arrived when forge returns.
func forge(t *testing.T, ns *netns.NS, kind, code byte, from, to netip.AddrPort) {
	t.Helper()
	// ICMP (RFC 792), followed by the IP header, the UDP header and the payload of the
	// datagram.
	b := make([]byte, 8+20+8+4)
	b[0], b[1] = kind, code
	ip, udp := b[8:], b[28:]
	ip[0], ip[8], ip[9] = 0x45, 64, syscall.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], 20+8+4)
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], 8+4)
	copy(udp[8:], "data")
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	ns.Do(func() {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
		require.NoError(t, err)
		defer syscall.Close(fd)
		require.NoError(t, syscall.Sendto(fd, b, 0, &syscall.SockaddrInet4{Addr: from.Addr().As4()}))
	})
}

// hearingPair makes two sockets in a namespace. The first reports ICMP errors and may send to the
// second.
func hearingPair(t *testing.T, connected bool, h udp.Handler) (ns *netns.NS, c, peer *udp.Conn) {
	t.Helper()
	ns = netns.New(t)
	var err error
	ns.Do(func() {
		peer, err = udp.Config{ReadBuffer: 8 << 20}.Listen(t.Context(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
		require.NoError(t, err)
		sockettest.CloseAtEnd(t, peer)
		c, err = udp.Config{PeerErrors: !connected}.Listen(t.Context(), "udp4", "127.0.0.1:0", h)
		sockettest.RequireSupported(t, err)
		sockettest.CloseAtEnd(t, c)
		if connected {
			_, err = c.Connect(peer.LocalAddrPort())
			require.NoError(t, err)
		}
	})
	if !c.Info().ErrorQueue {
		t.Skip("no error queue")
	}
	return ns, c, peer
}

// Linux knows more kinds of ICMP messages than firewalls send (icmp_err_convert
// in net/ipv4/icmp.c). Each is reported once, none fails a send to another peer, and
// none disables segmented sends.
func TestEveryForgedICMPMessageIsReported(t *testing.T) {
	for _, test := range []struct {
		kind, code byte
		errno      syscall.Errno
	}{
		{3, 0, syscall.ENETUNREACH}, {3, 1, syscall.EHOSTUNREACH}, {3, 2, syscall.ENOPROTOOPT}, {3, 3, syscall.ECONNREFUSED},
		{3, 5, syscall.EOPNOTSUPP}, {3, 6, syscall.ENETUNREACH}, {3, 7, syscall.EHOSTDOWN}, {3, 8, syscall.ENONET},
		{3, 9, syscall.ENETUNREACH}, {3, 10, syscall.EHOSTUNREACH}, {3, 11, syscall.ENETUNREACH}, {3, 12, syscall.EHOSTUNREACH},
		{3, 13, syscall.EHOSTUNREACH}, {3, 14, syscall.EHOSTUNREACH}, {3, 15, syscall.EHOSTUNREACH},
		{11, 0, syscall.EHOSTUNREACH}, {12, 0, syscall.EPROTO},
	} {
		for _, kind := range hearing {
			t.Run(fmt.Sprintf("type %d code %d, %s", test.kind, test.code, kind.name), func(t *testing.T) {
				netns.Run(t, func() {
					const n = 50
					h := sockettest.NewRecorder()
					ns, c, peer := hearingPair(t, kind.connected, h)
					h.Next(t, "Started")
					segments := c.Info().Segments
					ms := make([]udp.Message, 10)
					for i := range ms {
						ms[i] = udp.Message{Data: []byte("one of a segment"), To: peer.LocalAddrPort()}
					}
					for i := range n {
						forge(t, ns, test.kind, test.code, c.LocalAddrPort(), peer.LocalAddrPort())
						if i%2 == 0 {
							require.NoError(t, c.SendTo([]byte("alive"), peer.LocalAddrPort()))
						} else {
							sent, err := c.SendBatch(ms)
							require.NoError(t, err)
							require.Equal(t, len(ms), sent)
						}
					}
					for range n {
						r := h.Next(t, "Refused").Refusal
						require.ErrorIs(t, r, test.errno)
						require.Equal(t, [2]uint8{test.kind, test.code}, [2]uint8{r.Type, r.Code})
						require.Equal(t, peer.LocalAddrPort(), r.Peer)
						require.Equal(t, "data", string(r.Payload))
					}
					require.Equal(t, segments, c.Info().Segments)
					sockettest.Stop(t, c)
					s := c.Stats()
					require.EqualValues(t, n, s.Refused)
					require.Zero(t, s.RefusalsLost)
					require.Zero(t, s.ReadErrors, "the reader has not backed off")
					require.Zero(t, s.SendErrors)
				})
			})
		}
	}
}

// Datagrams that wait when a socket is closed are counted, even if the error of an ICMP message
// is pending.
func TestCloseCountsWhatWaitsBehindAnError(t *testing.T) {
	for _, code := range []byte{3, 5, 7, 8} {
		for _, kind := range hearing {
			t.Run(fmt.Sprintf("code %d, %s", code, kind.name), func(t *testing.T) {
				netns.Run(t, func() {
					const n = 50
					gate, in := make(chan struct{}), make(chan struct{}, n)
					ns, c, peer := hearingPair(t, kind.connected, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
						in <- struct{}{}
						<-gate
					}))
					for range n {
						require.NoError(t, peer.SendTo([]byte("x"), c.LocalAddrPort()))
					}
					sockettest.Next(t, in)
					forge(t, ns, 3, code, c.LocalAddrPort(), peer.LocalAddrPort())
					require.NoError(t, c.Close())
					close(gate)
					sockettest.Next(t, c.Done())
					s := c.Stats()
					require.EqualValues(t, n, s.Received)
					require.EqualValues(t, n-1, s.Dropped.Closed)
					require.EqualValues(t, 1, s.RefusalsLost)
				})
			})
		}
	}
}

// A program that enables further control messages still gets ICMP errors.
func TestRefusalsComeBesideManyControlMessages(t *testing.T) {
	h := sockettest.NewRecorder()
	c, err := udp.Config{PeerErrors: true, Timestamps: true}.Listen(t.Context(), "udp", ":0", h)
	sockettest.RequireSupported(t, err)
	sockettest.CloseAtEnd(t, c)
	rc, err := c.SyscallConn()
	require.NoError(t, err)
	for _, o := range [][3]int{
		{unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 1},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE},
	} {
		rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), o[0], o[1], o[2]) })
		require.NoError(t, err)
	}
	h.Next(t, "Started")
	dead := sockettest.DeadPort(t, "udp4")
	require.NoError(t, c.SendTo([]byte("x"), dead))
	sockettest.RequireRefused(t, c, h.Next(t, "Refused").Refusal, dead, "x")
}

// Anybody who knows the port can forge ICMP errors. Even with thousands a second no send fails.
// Soon after they end, however many there were, a batch leaves as segments of one send again.
func TestForgedICMPErrorsDisableNoSegmentationForGood(t *testing.T) {
	for i := range 4 {
		code, flood := byte(4+i%2), i > 1
		for _, kind := range hearing {
			t.Run(fmt.Sprintf("code %d, %s, as fast as possible %v", code, kind.name, flood), func(t *testing.T) {
				netns.Run(t, func() {
					ns, c, peer := hearingPair(t, kind.connected, udp.BaseHandler{})
					if c.Info().Segments < 2 {
						t.Skip("no segmented sends here")
					}
					var coalesces bool
					ns.Do(func() { coalesces = sockettest.LoopbackCoalesces() })
					if !coalesces {
						t.Skip("loopback cuts segmented sends here, which look like datagrams then")
					}
					ms := make([]udp.Message, 40)
					for i := range ms {
						ms[i] = udp.Message{Data: []byte("segment"), To: peer.LocalAddrPort()}
					}
					stop, stopped := make(chan struct{}), make(chan error)
					go func() {
						for {
							select {
							case <-stop:
								stopped <- nil
								return
							default:
							}
							if _, err := c.SendBatch(ms); err != nil && !flood {
								stopped <- err
								return
							}
						}
					}()
					pace := time.NewTicker(100 * time.Microsecond) // 10,000 a second
					defer pace.Stop()
					for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
						if !flood {
							<-pace.C
						}
						forge(t, ns, 3, code, c.LocalAddrPort(), peer.LocalAddrPort())
					}
					close(stop)
					require.NoError(t, sockettest.Next(t, stopped))

					// The limits are the address's: another receiver has read nothing so far.
					other := peer
					if !kind.connected {
						other = sockettest.ListenIn(t, ns, udp.Config{}, "udp4", "127.0.0.1:0", udp.BaseHandler{})
						for i := range ms {
							ms[i].To = other.LocalAddrPort()
						}
					}
					// Not Eventually, whose goroutine must not end the test.
					for deadline := time.Now().Add(sockettest.Patience); ; time.Sleep(10 * time.Millisecond) {
						before := other.Stats()
						n, err := c.SendBatch(ms)
						require.NoError(t, err)
						require.Equal(t, len(ms), n)
						require.Eventually(t, func() bool {
							return other.Stats().Received >= before.Received+40
						}, sockettest.Patience, time.Millisecond)
						s := other.Stats()
						if s.Received == before.Received+40 && s.Reads == before.Reads+1 {
							break
						}
						require.True(t, time.Now().Before(deadline), "%+v, after %+v", s, before)
					}
				})
			})
		}
	}
}
