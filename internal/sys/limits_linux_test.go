//go:build !udpbasic

package sys

import (
	"math"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// One peer behind a small MTU does not cost all others their segments.
func TestOnePeersMTUIsNotEverybodys(t *testing.T) {
	netns.Run(t, func() {
		here, there := netns.New(t), netns.New(t)
		netns.Veth(t, here, "left", there, "right")
		here.Addr("left", "192.0.2.1/24")
		there.Addr("right", "192.0.2.2/24")
		there.Addr("right", "192.0.2.3/24")
		here.IP("route add 192.0.2.2/32 dev left mtu 1000") // as after "fragmentation needed"
		var s *Conn
		var r *net.UDPConn
		here.Do(func() { s = open(t, "udp4", "192.0.2.1:0", socket.Options{}) })
		there.Do(func() {
			var err error
			r, err = net.ListenUDP("udp4", nil)
			require.NoError(t, err)
		})
		defer r.Close()
		require.NoError(t, r.SetReadBuffer(1<<20))
		port := r.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		calls := 0
		s.path.sendmmsg = func(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
			n, errno := sendmmsg(fd, hs)
			calls += max(n, 0)
			return n, errno
		}
		send := func(host byte) (messagesToKernel int) {
			calls = 0
			sizes := make([]int, 40)
			for i := range sizes {
				sizes[i] = 1200
			}
			ms := messages(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), port), sizes...)
			n, err := sendAll(s, ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			arrive(t, r, ms)
			return calls
		}
		require.Equal(t, 1, send(3))
		require.Equal(t, 40, send(2), "each in two fragments")
		require.Equal(t, 1, send(3), "segmented as before")
		require.EqualValues(t, firstSegments, s.Info().Segments)
		require.Equal(t, 40, send(2), "remembered")

		here.IP("route del 192.0.2.2/32 dev left")
		narrow := (*s.path.limits.narrow.Load())[0]
		s.path.limits.note(narrow.to, narrow.longest, time.Now().Add(time.Nanosecond)) // it is over
		require.Equal(t, 1, send(2))
	})
}

func TestLimitsAreBounded(t *testing.T) {
	var l limits
	soon := time.Now().Add(time.Hour)
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 10 * maxNarrow {
		l.note(address(i), i, soon)
	}
	require.Len(t, *l.narrow.Load(), maxNarrow)
	require.Equal(t, 10*maxNarrow-1, l.longest(address(10*maxNarrow-1)))
	require.Equal(t, math.MaxInt, l.longest(address(0)), "the oldest")
	for i := range 10 * maxNarrow {
		l.note(address(i), 0, time.Time{})
	}
	require.Nil(t, l.narrow.Load())
}

// An ICMP error that is met by a segmented send says nothing about segmentation:
// anybody who knows the port can forge it.
func TestAnICMPErrorCostsNoSegments(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EMSGSIZE, unix.EOPNOTSUPP} {
		for name, connected := range map[string]bool{"with a peer": true, "with an error queue": false} {
			t.Run(errno.Error()+" "+name, func(t *testing.T) {
				r, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				require.NoError(t, err)
				defer r.Close()
				to := r.LocalAddr().(*net.UDPAddr).AddrPort()
				s := open(t, "udp4", "127.0.0.1:0", socket.Options{PeerErrors: !connected})
				if connected {
					_, err := s.Connect(to)
					require.NoError(t, err)
					to = netip.AddrPort{}
				}
				failures, most := 0, 0
				s.path.sendmmsg = func(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
					if failures++; failures <= maxConfirm {
						return 0, errno
					}
					for i := range hs {
						most = max(most, segments(&hs[i]))
					}
					return sendmmsg(fd, hs)
				}
				ms := messages(to, 100, 100, 100, 100)
				n, err := sendAll(s, ms)
				require.NoError(t, err)
				require.Equal(t, len(ms), n)
				arrive(t, r, ms)
				require.Equal(t, 4, most)
				require.Nil(t, s.path.limits.narrow.Load())
				require.EqualValues(t, firstSegments, s.path.limits.segments.Load())
			})
		}
	}
}

// A device that can't send segments is that of one destination, and may be another
// device soon.
func TestADeviceWithoutSegmentsIsNotEverybodys(t *testing.T) {
	r, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	defer r.Close()
	port := r.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	bad, good := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	s := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	mended, calls, most := false, 0, 0
	s.path.sendmmsg = func(fd uintptr, hs []mmsghdr) (int, syscall.Errno) {
		most = max(most, segments(&hs[0]))
		calls++
		to := (*unix.RawSockaddrInet4)(unsafe.Pointer(hs[0].hdr.Name))
		if !mended && to.Addr == bad.As4() && segments(&hs[0]) > 1 {
			return 0, unix.EIO
		}
		return sendmmsg(fd, hs)
	}
	send := func(to netip.Addr) (segments int) {
		most, calls = 0, 0
		ms := messages(netip.AddrPortFrom(to, port), 100, 100, 100)
		n, err := sendAll(s, ms)
		require.NoError(t, err)
		require.Equal(t, len(ms), n)
		arrive(t, r, ms)
		return most
	}
	require.Equal(t, 3, send(bad), "tried")
	require.Equal(t, 2, calls)
	require.Equal(t, 1, send(bad), "remembered")
	require.Equal(t, 3, send(good))
	mended = true
	s.path.limits.note(bad, 0, time.Now().Add(time.Nanosecond)) // it is over
	require.Equal(t, 3, send(bad))
	require.Equal(t, 1, calls)
}
