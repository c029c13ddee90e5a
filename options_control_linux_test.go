package udp_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// What a program may set on its socket by itself: each makes the kernel append
// another control message.
var extraControl = [][3]int{
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1},
	{unix.SOL_SOCKET, unix.SO_RCVMARK, 1},
	{unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 1},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 1},
	{unix.IPPROTO_IPV6, 11, 1}, // IPV6_FLOWINFO
	{unix.IPPROTO_IP, unix.IP_CHECKSUM, 1},
	{unix.IPPROTO_IP, unix.IP_PASSSEC, 1},
	{unix.IPPROTO_IP, unix.IP_RECVFRAGSIZE, 1},
}

// setExtraControl sets what the kernel has of it.
func setExtraControl(rc syscall.RawConn) error {
	return rc.Control(func(fd uintptr) {
		for _, o := range extraControl {
			_ = unix.SetsockoptInt(int(fd), o[0], o[1], o[2])
		}
	})
}

// Options of the program's own leave less space for the control messages that the
// toolkit needs. A datagram arrives with all it needs, or is counted: never merged
// with others, never without the address that it was sent to.
func TestOptionsOfTheProgramsOwnCostNoControlMessage(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "udp"} {
		for _, when := range []string{"before", "after"} {
			for _, stamps := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, set %s Listen, timestamps %v", network, when, stamps), func(t *testing.T) {
					received := make(chan udp.Datagram, 1000)
					cfg := udp.Config{Timestamps: stamps, ReadBuffer: 1 << 20}
					if when == "before" {
						cfg.Control = func(_, _ string, rc syscall.RawConn) error { return setExtraControl(rc) }
					}
					c := sockettest.ListenAt(t, cfg, network, ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { received <- d.Clone() }))
					if when == "after" {
						rc, err := c.SyscallConn()
						require.NoError(t, err)
						require.NoError(t, setExtraControl(rc))
					}
					to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), c.LocalAddrPort().Port())
					if network == "udp6" {
						to = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
					}
					s := sockettest.ListenAt(t, udp.Config{}, network, ":0", udp.BaseHandler{})
					const segments = 40
					ms := make([]udp.Message, segments)
					for i := range ms {
						ms[i] = udp.Message{Data: []byte(fmt.Sprintf("segment %03d", i)), To: to, ECN: udp.ECT0}
					}
					for round := range 5 {
						n, err := s.SendBatch(ms)
						require.NoError(t, err)
						require.Equal(t, segments, n)
						want := uint64(segments * (round + 1))
						var st udp.Stats
						require.Eventually(t, func() bool {
							st = c.Stats()
							// What has lost the length of its segments counts as one.
							return st.Handled+st.Dropped.Truncated == want || st.Dropped.Truncated == 1 && st.Handled == want-segments
						}, 10*time.Second, time.Millisecond, "%+v", &st)
						if when == "before" {
							require.Zero(t, st.Dropped.Total())
						}
					}
					require.GreaterOrEqual(t, len(received), 4*segments, "only the first read has too little space")
					for len(received) > 0 {
						d := <-received
						require.Len(t, d.Data, len("segment 000"))
						require.Equal(t, to, d.To())
						if c.Info().ECN {
							require.Equal(t, udp.ECT0, d.ECN())
							require.Equal(t, 64, d.TTL())
						}
						require.Equal(t, stamps, !d.Time().IsZero())
					}
				})
			}
		}
	}
}
