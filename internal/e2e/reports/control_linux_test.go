package reports

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// Report 30: options that this package does not have. The program sets IP_RECVORIGDSTADDR
// by itself and reads the address; and it sends with a control message of its own, in a
// batch and from the outbox, beside those that the package adds.
func TestControlMessagesOfTheProgramsOwn(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		asks := func(_, _ string, rc syscall.RawConn) (err error) {
			cerr := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 1)
			})
			if err == nil {
				err = cerr
			}
			return err
		}
		for _, keeps := range []bool{false, true} {
			datagrams := make(chan udp.Datagram, 1000)
			server := listen(t, l.c, udp.Config{Control: asks, ControlMessages: keeps}, "udp4", ":0", func(d udp.Datagram) { datagrams <- d.Clone() })
			c := listen(t, l.s, udp.Config{}, "udp4", ":0", nil)
			to := server.at("10.0.1.2")
			ttl, _ := cmsg.AppendTTL(nil, 9, false) // which Message.TTL makes too
			long := make([]byte, 0, 20*len(ttl))    // more than fits beside the package's own
			for range 20 {
				long = append(long, ttl...)
			}
			ms := []udp.Message{{Data: []byte("plain"), To: to}, {Data: []byte("cmsg9"), To: to, Control: ttl},
				{Data: []byte("cmsg9"), To: to, Control: long, ECN: udp.ECT0, From: netip.MustParseAddr("10.0.1.1")},
				{Data: []byte("plain"), To: to}}
			n, err := c.SendBatch(ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			for _, m := range ms {
				require.NoError(t, c.Enqueue(m))
			}
			require.NoError(t, c.Flush())
			for i := range 2 * len(ms) {
				m, d := ms[i%len(ms)], sockettest.Next(t, datagrams)
				require.Equal(t, string(m.Data), string(d.Data))
				if want := 64; len(m.Control) > 0 {
					require.Equal(t, 9, d.TTL())
				} else {
					require.Equal(t, want, d.TTL())
				}
				require.Equal(t, m.ECN, d.ECN())
				if !keeps {
					require.Nil(t, d.Control())
					continue
				}
				require.Equal(t, to, originalDestination(t, d.Control()))
			}
			_, err = c.SendBatch([]udp.Message{{Data: []byte("x"), To: to, Control: []byte("no control message")}})
			require.ErrorIs(t, err, unix.EINVAL)
		}
	})
}

// originalDestination reads IP_ORIGDSTADDR.
func originalDestination(t *testing.T, control []byte) netip.AddrPort {
	t.Helper()
	all, err := unix.ParseSocketControlMessage(control)
	require.NoError(t, err)
	for _, m := range all {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_ORIGDSTADDR {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Data[4:8])), binary.BigEndian.Uint16(m.Data[2:]))
		}
	}
	require.FailNow(t, "there is none")
	return netip.AddrPort{}
}
