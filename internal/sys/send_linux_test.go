//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// needIPv6 skips the test where loopback has no IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	c.Close()
}

// messages makes datagrams of the given sizes, numbered as far as they have room.
func messages(to netip.AddrPort, sizes ...int) []socket.Message {
	ms := make([]socket.Message, len(sizes))
	for i, n := range sizes {
		ms[i] = socket.Message{Data: payload(i, n), To: to}
	}
	return ms
}

// sendAll sends messages as the layer above does, neighbours as segments of one.
func sendAll(c *Conn, ms []socket.Message) (int, error) {
	b := gso.Get(c.Segments() > 1)
	defer b.Put()
	for i := range ms {
		b.Lend(&ms[i])
	}
	return c.SendBatch(b.Messages, true)
}

func payload(i, n int) []byte {
	b := make([]byte, n)
	for j := range b {
		b[j] = byte(i + j)
	}
	if n >= 4 {
		binary.BigEndian.PutUint32(b, uint32(i))
	}
	return b
}

// arrive checks that what was sent arrives at r, whole and in order.
func arrive(t *testing.T, r *net.UDPConn, ms []socket.Message) {
	t.Helper()
	b := make([]byte, 1<<16)
	for i := range ms {
		n, err := r.Read(b)
		require.NoError(t, err)
		require.Equal(t, ms[i].Data, b[:n:n], "datagram %d", i)
	}
}

func TestABatchArrivesWholeAndInOrder(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s connected %v", network, connected), func(t *testing.T) {
				wildcard, loopback := "0.0.0.0:0", "127.0.0.1:0"
				if network == "udp6" {
					wildcard, loopback = "[::]:0", "[::1]:0"
				}
				if network == "udp6" {
					needIPv6(t)
				}
				r, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(loopback)))
				require.NoError(t, err)
				defer r.Close()
				s := open(t, network, wildcard, socket.Options{})
				to := unmap(r.LocalAddr().(*net.UDPAddr).AddrPort())
				if connected {
					_, err := s.Connect(to)
					require.NoError(t, err)
					to = netip.AddrPort{}
				}
				ms := messages(to, 10, 10, 10, 4, 0, 0, 10, 300, 300, 20, 1, 0)
				n, err := sendAll(s, ms)
				require.NoError(t, err)
				require.Equal(t, len(ms), n)
				arrive(t, r, ms)
			})
		}
	}
}

func TestABatchLongerThanOneCallAndOneSegmentedSendIsSentWhole(t *testing.T) {
	r, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer r.Close()
	s := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	to := r.LocalAddr().(*net.UDPAddr).AddrPort()
	sizes := make([]int, 300)
	for i := range sizes {
		sizes[i] = 8 + i%2 // no two neighbours alike: each goes alone, or with one shorter
	}
	ms := messages(to, sizes...)
	for len(ms) > 0 {
		// In parts that the receiver's buffer has room for.
		part := ms[:min(len(ms), 100)]
		n, err := s.SendBatch(part, true)
		require.NoError(t, err)
		require.Equal(t, len(part), n)
		arrive(t, r, part)
		ms = ms[len(part):]
	}
}

// segments is how many datagrams UDP_SEGMENT makes of a message.
func segments(h *mmsghdr) int {
	if h.hdr.Controllen == 0 {
		return 1
	}
	total := 0
	for _, iov := range unsafe.Slice(h.hdr.Iov, h.hdr.Iovlen) {
		total += int(iov.Len)
	}
	cms, err := unix.ParseSocketControlMessage(unsafe.Slice(h.hdr.Control, h.hdr.Controllen))
	if err != nil {
		panic(err)
	}
	for _, cm := range cms {
		if cm.Header.Level == unix.SOL_UDP && cm.Header.Type == unix.UDP_SEGMENT {
			size := int(binary.NativeEndian.Uint16(cm.Data))
			return (total + size - 1) / size
		}
	}
	return 1
}

func TestSegmentsThatCameAsOneAndLongDatagramsArriveWholeAndInOrder(t *testing.T) {
	r, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, r.SetReadBuffer(4<<20))
	to := r.LocalAddr().(*net.UDPAddr).AddrPort()
	for name, limit := range map[string]int32{"with many segments": firstSegments, "with three": 3, "without": 1} {
		t.Run(name, func(t *testing.T) {
			s := open(t, "udp4", "127.0.0.1:0", socket.Options{})
			s.path.limits.segments.Store(limit)
			var want []socket.Message // a datagram each
			joined := func(sizes ...int) socket.Message {
				ms := messages(to, sizes...)
				want = append(want, ms...)
				all := socket.Message{To: to, Segment: sizes[0]}
				for _, m := range ms {
					all.Data = append(all.Data, m.Data...)
				}
				return all
			}
			single := func(size int) socket.Message {
				m := messages(to, size)[0]
				want = append(want, m)
				return m
			}
			ms := []socket.Message{
				single(10), joined(7, 7, 7, 7, 7, 7, 7, 2), single(0), joined(9), single(9),
				joined(30000, 30000, 30000), single(5000), single(5000), single(4000), single(4000), single(100), single(100),
			}
			n, err := sendAll(s, ms)
			require.NoError(t, err)
			require.Equal(t, len(want), n)
			arrive(t, r, want)
		})
	}
}

func TestWhatHasLeftBeforeTheDeadlineIsCounted(t *testing.T) {
	s := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	calls := 0
	s.path.sendmmsg = func(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
		if calls++; calls == 1 {
			return 2, 0 // of three messages
		}
		// Not before: on a slow machine it would pass before the first call.
		require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
		return 0, unix.EAGAIN
	}
	n, err := sendAll(s, messages(s.Local(), 10, 10, 20, 20, 20, 30))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, 5, n)
}

func TestARefusedSegmentedSendLeavesAsDatagrams(t *testing.T) {
	for name, c := range map[string]struct {
		errno        syscall.Errno
		refuse       func(count int) bool
		wantSegments int32
		wantLongest  int
	}{
		"a device without checksum offload": {unix.EIO, func(count int) bool { return count > 1 }, firstSegments, 0},
		"a device that says so":             {unix.EOPNOTSUPP, func(count int) bool { return count > 1 }, firstSegments, 0},
		"a kernel that takes 64":            {unix.EINVAL, func(count int) bool { return count > 64 }, 64, math.MaxInt},
		"datagrams over the MTU":            {unix.EMSGSIZE, func(count int) bool { return count > 1 }, firstSegments, 99},
		"the same in an older kernel":       {unix.EINVAL, func(count int) bool { return count > 1 }, firstSegments, 99},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			require.NoError(t, err)
			defer r.Close()
			s := open(t, "udp4", "127.0.0.1:0", socket.Options{})
			refused := 0
			s.path.sendmmsg = func(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
				for i := range hs {
					if n := segments(&hs[i]); n > 1 && c.refuse(n) {
						if i > 0 {
							return sendmmsg(fd, hs[:i]) // as the kernel does: what comes before leaves
						}
						refused++
						return 0, c.errno
					}
				}
				return sendmmsg(fd, hs)
			}
			to := r.LocalAddr().(*net.UDPAddr).AddrPort()
			sizes := []int{7}
			for range 100 {
				sizes = append(sizes, 100)
			}
			for range 2 {
				ms := messages(to, sizes...)
				n, err := sendAll(s, ms)
				require.NoError(t, err)
				require.Equal(t, len(ms), n)
				arrive(t, r, ms)
			}
			require.Equal(t, c.wantSegments, s.path.limits.segments.Load())
			require.Equal(t, c.wantLongest, s.path.limits.longest(to.Addr()))
			require.LessOrEqual(t, refused, 2, "what a device can't do is remembered")
		})
	}
}

func TestAnErrorOfTheDatagramsCostsNoSegments(t *testing.T) {
	needIPv6(t)
	s := open(t, "udp6", "[::1]:0", socket.Options{})
	ms := messages(s.Local(), 10, 10, 10)
	for i := range ms {
		ms[i].From = netip.MustParseAddr("2001:db8::77") // not ours: EINVAL
	}
	n, err := sendAll(s, ms)
	require.Zero(t, n)
	require.ErrorIs(t, err, unix.EINVAL)
	require.EqualValues(t, firstSegments, s.path.limits.segments.Load())
	require.Nil(t, s.path.limits.narrow.Load())
}

func TestDatagramsOverTheMTULeaveAsFragments(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "192.0.2.1/24")
		there.Addr("right", "192.0.2.2/24")
		var (
			s *Conn
			r *net.UDPConn
		)
		here.Do(func() { s = open(t, "udp4", "192.0.2.1:0", socket.Options{}) })
		there.Do(func() {
			var err error
			r, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2)})
			require.NoError(t, err)
		})
		defer r.Close()
		ms := messages(r.LocalAddr().(*net.UDPAddr).AddrPort(), 1000, 1000, 4000, 4000, 4000, 900, 900)
		n, err := sendAll(s, ms)
		require.NoError(t, err)
		require.Equal(t, len(ms), n)
		arrive(t, r, ms)
		require.Equal(t, 3999, s.path.limits.longest(ms[0].To.Addr()), "4,000 bytes do not fit a segment of 1,500")
	})
}
