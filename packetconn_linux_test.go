package udp_test

import (
	"encoding/binary"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// control makes one control message, as programs write them.
func control(level, typ int, data ...byte) []byte {
	b := make([]byte, syscall.CmsgSpace(len(data)))
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(syscall.CmsgLen(len(data)))
	copy(b[syscall.CmsgLen(0):], data)
	return b
}

// segment is UDP_SEGMENT.
func segment(size uint16) []byte {
	return control(syscall.IPPROTO_UDP, 103, binary.NativeEndian.AppendUint16(nil, size)...)
}

// The traffic class and the TTL of a control message are sent, and received as one.
func TestPacketConnHeaders(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		for _, network := range []string{"udp4", "udp"} {
			s := listenPacket(t, server, network, ":0")
			c := dialPacket(t, client, "udp4", host+":"+portOf(s))
			tos := control(syscall.IPPROTO_IP, syscall.IP_TOS, 0xb9)
			ttl := control(syscall.IPPROTO_IP, syscall.IP_TTL, binary.NativeEndian.AppendUint32(nil, 77)...)
			_, _, err := c.WriteMsgUDP([]byte("x"), append(tos, ttl...), nil)
			require.NoError(t, err)
			oob := make([]byte, 200)
			_, oobn, flags, _, err := s.ReadMsgUDP(make([]byte, 1), oob)
			require.NoError(t, err)
			require.Zero(t, flags)
			ms, err := syscall.ParseSocketControlMessage(oob[:oobn])
			require.NoError(t, err)
			got := map[int32][]byte{}
			for _, m := range ms {
				if m.Header.Level == syscall.IPPROTO_IP {
					got[m.Header.Type] = m.Data
				}
			}
			require.Contains(t, got, int32(syscall.IP_PKTINFO))
			if !s.Info().ECN { // the portable path reads neither
				continue
			}
			require.Equal(t, byte(0xb9), got[syscall.IP_TOS][0])
			require.EqualValues(t, 77, binary.NativeEndian.Uint32(got[syscall.IP_TTL]))

			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
			_, oobn, flags, _, err = s.ReadMsgUDP(make([]byte, 1), oob[:25])
			require.NoError(t, err)
			require.Equal(t, syscall.MSG_CTRUNC, flags)
			require.Equal(t, syscall.CmsgSpace(1), oobn)
		}
	})
}

// UDP_SEGMENT makes several datagrams of one message, also on a simulated network.
func TestPacketConnSegments(t *testing.T) {
	onNetworks(t, func(t *testing.T, server, client udp.Config, host string) {
		s := listenPacket(t, server, "udp4", ":0")
		c := dialPacket(t, client, "udp4", host+":"+portOf(s))
		n, oobn, err := c.WriteMsgUDP([]byte("aaabbbcc"), segment(3), nil)
		require.NoError(t, err)
		require.Equal(t, 8, n)
		require.Equal(t, len(segment(3)), oobn)
		_, err = c.WriteBatch([]ipv4.Message{
			{Buffers: [][]byte{[]byte("dd")}, OOB: segment(3)},
			{Buffers: [][]byte{[]byte("eeff")}, OOB: segment(2)},
			{Buffers: [][]byte{[]byte("g")}},
		}, 0)
		require.NoError(t, err)
		b := make([]byte, 10)
		for _, want := range []string{"aaa", "bbb", "cc", "dd", "ee", "ff", "g"} {
			n, _, err := s.ReadFrom(b)
			require.NoError(t, err)
			require.Equal(t, want, string(b[:n]))
		}
		require.EqualValues(t, 7, c.Stats().Sent)
		require.EqualValues(t, 7, s.Stats().Handled)
		_, _, err = c.WriteMsgUDP([]byte("x"), []byte("no control message"), nil)
		require.ErrorIs(t, err, syscall.EINVAL)
	})
}

// Programs that read the descriptor themselves see single datagrams.
func TestPacketConnRaw(t *testing.T) {
	s := listenPacket(t, udp.Config{}, "udp4", "127.0.0.1:0")
	c := dialPacket(t, udp.Config{}, "udp4", s.LocalAddr().String())
	p := ipv4.NewPacketConn(s)
	in := make([]ipv4.Message, 10)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 100)}
	}
	require.NoError(t, s.SetReadDeadline(time.Now()))
	_, err := p.ReadBatch(in, 0)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	ms := make([]udp.Message, 10)
	for i := range ms {
		ms[i].Data = []byte("0123456789")
	}
	_, err = c.SendBatch(ms)
	require.NoError(t, err)
	for got := 0; got < len(ms); {
		n, err := p.ReadBatch(in, 0)
		require.NoError(t, err)
		for _, m := range in[:n] {
			require.Equal(t, "0123456789", string(m.Buffers[0][:m.N]))
		}
		got += n
	}
	require.Zero(t, s.Stats().Received)
	require.False(t, s.Info().GRO)
}

// What a buffer has no room for is lost, as in package net, and counted.
func TestPacketConnShortBuffers(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		c := m.listen(t, "udp4", "127.0.0.1:0")
		defer c.Close()
		for range 4 {
			_, err := c.WriteTo([]byte("0123456789"), c.LocalAddr())
			require.NoError(t, err)
		}
		b := make([]byte, 100)
		n, _, flags, from, err := c.ReadMsgUDP(b[:4], nil)
		require.NoError(t, err)
		require.Equal(t, 4, n)
		require.Equal(t, syscall.MSG_TRUNC, flags&syscall.MSG_TRUNC)
		require.Equal(t, c.LocalAddr().String(), from.String())
		n, _, err = c.ReadFrom(b[:3])
		require.NoError(t, err)
		require.Equal(t, 3, n)
		n, _, err = c.ReadFrom(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = c.Read(b)
		require.NoError(t, err)
		require.Equal(t, "0123456789", string(b[:n]))
		if pc, ok := c.(*udp.PacketConn); ok {
			require.EqualValues(t, 3, pc.Stats().Cut)
			require.EqualValues(t, 4, pc.Stats().Handled)
		}
	})
}

// Sending to broadcast addresses is allowed.
func TestPacketConnMayBroadcast(t *testing.T) {
	eachMaker(t, func(t *testing.T, m maker) {
		c := m.listen(t, "udp4", ":0")
		defer c.Close()
		rc, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(fd uintptr) {
			on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_BROADCAST)
			require.NoError(t, err)
			require.Equal(t, 1, on)
		}))
	})
}

// A connected socket discards what other peers sent before it was connected.
func TestPacketConnDiscardsOtherPeers(t *testing.T) {
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	peer := listenPacket(t, udp.Config{}, "udp4", "127.0.0.1:0")
	other := listenPacket(t, udp.Config{}, "udp4", "127.0.0.1:0")
	for range 3 {
		_, err = other.WriteTo([]byte("other"), uc.LocalAddr())
		require.NoError(t, err)
	}
	_, err = peer.WriteTo([]byte("peer"), uc.LocalAddr())
	require.NoError(t, err)
	rc, err := uc.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		err := syscall.Connect(int(fd), &syscall.SockaddrInet4{
			Addr: [4]byte{127, 0, 0, 1}, Port: peer.LocalAddr().(*net.UDPAddr).Port,
		})
		require.NoError(t, err)
	}))
	c, err := udp.Config{}.AdoptPacket(uc)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, peer.LocalAddr().String(), c.RemoteAddr().String())
	b := make([]byte, 10)
	n, err := c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "peer", string(b[:n]))
	require.EqualValues(t, 3, c.Stats().Dropped.Stranger)
}

// What waits in the kernel stays there for whoever has a copy of the descriptor.
func TestPacketConnLeavesToACopyWhatWaits(t *testing.T) {
	c := listenPacket(t, udp.Config{}, "udp4", "127.0.0.1:0")
	f, err := c.File()
	require.NoError(t, err)
	defer f.Close()
	for range 3 {
		_, err = c.WriteTo([]byte("x"), c.LocalAddr())
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	again, err := net.FilePacketConn(f)
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.SetReadDeadline(time.Now().Add(sockettest.Patience)))
	for range 3 {
		_, _, err = again.ReadFrom(make([]byte, 1))
		require.NoError(t, err)
	}
}
