//go:build !udpbasic

package sys

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// drainingSink counts the packets and errors that it gets while the socket is drained.
type drainingSink struct{ packets, faults int }

func (s *drainingSink) Packets(ps []socket.Packet) bool {
	s.packets += len(ps)
	return true
}
func (s *drainingSink) Reports([]socket.Report) bool { return true }
func (s *drainingSink) Woken() socket.Action         { return socket.Drain }
func (s *drainingSink) Fault(error) bool             { s.faults++; return true }

// Where the error queue is rejected, or a sandbox has none, a drain ends although each
// error that it meets makes another one, since a Handler sends from Refused.
func TestADrainEndsThoughErrorsMakeErrors(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	c.path.recvmmsg = func(uintptr, []mmsghdr, bool) (int, syscall.Errno) { return 0, unix.ECONNREFUSED }
	c.Wake()
	s := new(drainingSink)
	require.NoError(t, c.Serve(s))
	require.Equal(t, maxErrors, s.faults)
	require.EqualValues(t, maxDrainFaults-maxErrors, c.LostReports())
}

// What a stack without control messages would leave out is an error.
func TestMessagesForALenientStack(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:9")
	group := netip.MustParseAddrPort("239.1.2.3:9")
	link := netip.MustParseAddrPort("[fe80::1%lo]:9")
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	for _, test := range []struct {
		m  socket.Message
		ok bool
	}{
		{socket.Message{To: to}, true},
		{socket.Message{To: to, TTL: 3}, true},
		{socket.Message{To: to, ECN: 1}, true}, // Info says that it is not obeyed
		{socket.Message{To: to, TrafficClass: 4}, false},
		{socket.Message{To: to, IfIndex: 1}, false},
		{socket.Message{To: group, IfIndex: 1}, true},
		{socket.Message{To: link, IfIndex: 1}, true},
	} {
		err := c.lacks(&test.m)
		require.Equal(t, test.ok, err == nil, test.m)
		require.Equal(t, !test.ok, errors.Is(err, errors.ErrUnsupported))
	}
}

// The way of sending to a lenient stack sends what this one sends.
func TestSendLenient(t *testing.T) {
	r := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	c.lenient = true
	var ms []socket.Message
	for _, text := range []string{"one", "two", "three"} {
		ms = append(ms, socket.Message{Data: []byte(text), To: r.Local()})
	}
	ms = append(ms, socket.Message{Data: []byte("four"), To: r.Local(), TrafficClass: 8})
	n, err := c.SendBatch(ms, true)
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, c.Send(ms[0]))
	require.ErrorIs(t, c.Send(ms[3]), errors.ErrUnsupported)
	b := make([]byte, 10)
	for _, want := range []string{"one", "two", "three", "one"} {
		got, _, err := r.uc.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		require.Equal(t, want, string(b[:got]))
	}
	require.ErrorIs(t, onFD(c.rc, c.refuseAll), errors.ErrUnsupported)
}

// Linux is not lenient, and its options can be set.
func TestOptionsAreSet(t *testing.T) {
	c := open(t, "udp4", "127.0.0.1:0", socket.Options{})
	require.NoError(t, onFD(c.rc, func(fd int) error {
		if lenient(fd) {
			t.Skip("this stack is lenient")
		}
		require.Error(t, setOption(fd, 0, noOption, 1))
		return setOption(fd, 0, 1, 8) // IP_TOS
	}))
	done, err := changeOlder(c.uc, member{group: netip.MustParseAddr("239.1.2.3")}, join, nil)
	require.NoError(t, err)
	require.False(t, done)
}

// What a membership of a lenient stack can't be is an error that says so.
func TestMembershipsOfALenientStack(t *testing.T) {
	group4, group6 := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff02::1:2")
	for _, test := range []struct {
		network, address string
		m                member
		ok               bool
	}{
		{"udp4", "127.0.0.1:0", member{group: group4}, true},
		{"udp4", "127.0.0.1:0", member{group: group4, source: netip.MustParseAddr("192.0.2.1")}, false},
		{"udp6", "[::1]:0", member{group: group6}, true},
		{"udp6", "[::1]:0", member{group: group4}, false},
	} {
		c := open(t, test.network, test.address, socket.Options{})
		err := onFD(c.rc, func(fd int) error { return lacksMembership(fd, test.m, false) })
		require.Equal(t, test.ok, err == nil, "%+v: %v", test, err)
		require.Equal(t, !test.ok, errors.Is(err, errors.ErrUnsupported))
	}
}

// Where the options of RFC 3678 are missing, as in QEMU's emulator of a processor, the older
// ones join and leave, by interfaces and without, on sockets of both families.
func TestMembershipsByOlderOptions(t *testing.T) {
	missing := sysErr("setsockopt", unix.ENOPROTOOPT)
	for _, network := range []string{"udp4", "udp"} {
		c := open(t, network, map[string]string{"udp4": "0.0.0.0:0", "udp": "[::]:0"}[network], socket.Options{})
		lo, err := net.InterfaceByName("lo")
		require.NoError(t, err)
		m := member{group: netip.MustParseAddr("239.1.2.3"), ifindex: lo.Index}
		for _, a := range []action{join, leave} {
			done, err := changeOlder(c.uc, m, a, missing)
			require.True(t, done)
			require.NoError(t, err)
		}
		done, err := changeOlder(c.uc, m, leave, missing)
		require.True(t, done)
		require.ErrorIs(t, err, unix.EADDRNOTAVAIL, "it was left")
		m.source = netip.MustParseAddr("127.0.0.1")
		_, err = changeOlder(c.uc, m, join, missing)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = changeOlder(c.uc, member{group: m.group, ifindex: 1 << 30}, join, missing)
		require.ErrorIs(t, err, unix.ENODEV)
	}
}
