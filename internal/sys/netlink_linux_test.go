package sys

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/socket"
)

// message and attribute write what cutMessage and cutAttribute read.
func message(kind, flags uint16, seq uint32, data ...[]byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr)
	for _, d := range data {
		b = append(b, d...)
	}
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], kind)
	ne.PutUint16(b[6:], flags)
	ne.PutUint32(b[8:], seq)
	return pad(b)
}

func attribute(kind uint16, value []byte) []byte {
	b := append(make([]byte, unix.SizeofRtAttr), value...)
	ne.PutUint16(b, uint16(len(b)))
	ne.PutUint16(b[2:], kind)
	return pad(b)
}

func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// link and addr are the fixed parts of RTM_NEWLINK and RTM_NEWADDR.
func link(index int32, flags uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	ne.PutUint32(b[4:], uint32(index))
	ne.PutUint32(b[8:], flags)
	return b
}

func addr(bits byte, index uint32) []byte {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = unix.AF_INET, bits
	ne.PutUint32(b[4:], index)
	return b
}

// A listing is what is asked for, whole, or an error; what other questions and
// lying lengths bring is not in it.
func TestAListingIsReadToItsEnd(t *testing.T) {
	eth := message(unix.RTM_NEWLINK, 0, 7, link(3, unix.IFF_UP), attribute(unix.IFLA_IFNAME, []byte("eth\x00")))
	done := message(unix.NLMSG_DONE, 0, 7, make([]byte, 4))
	no := ne.AppendUint32(nil, uint32(0xffffffff&-int64(unix.EPERM)))
	short := slices.Clone(eth)
	ne.PutUint32(short, uint32(len(short)+4))
	for _, test := range []struct {
		name      string
		datagrams [][]byte
		want      int  // messages
		changed   bool // while it was written
		done      bool
		err       error
	}{
		{name: "in two datagrams", datagrams: [][]byte{eth, slices.Concat(eth, done)}, want: 2, done: true},
		{name: "what follows the end", datagrams: [][]byte{slices.Concat(done, eth)}, done: true},
		{name: "an answer to another question", datagrams: [][]byte{message(unix.RTM_NEWLINK, 0, 6, link(3, 0)), done}, done: true},
		{name: "that changed meanwhile", datagrams: [][]byte{message(unix.RTM_NEWLINK, unix.NLM_F_DUMP_INTR, 7, link(3, 0)), done}, want: 1, changed: true, done: true},
		{name: "without an end", datagrams: [][]byte{eth, eth}, want: 2},
		{name: "refused", datagrams: [][]byte{message(unix.NLMSG_ERROR, 0, 7, no)}, err: unix.EPERM},
		{name: "refused without a reason", datagrams: [][]byte{message(unix.NLMSG_ERROR, 0, 7)}, err: unix.EIO},
		{name: "a message longer than its datagram", datagrams: [][]byte{short}, err: unix.EINVAL},
		{name: "a message shorter than its header", datagrams: [][]byte{ne.AppendUint32(nil, 15), make([]byte, 16)}, err: unix.EINVAL},
		{name: "half a header", datagrams: [][]byte{eth[:8]}, err: unix.EINVAL},
		{name: "an empty datagram", datagrams: [][]byte{{}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := listing{seq: 7}
			var done bool
			var err error
			for _, b := range test.datagrams {
				if done, err = l.take(b); done || err != nil {
					break
				}
			}
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.done, done)
			require.Len(t, l.messages, test.want)
			require.Equal(t, test.changed, l.changed)
		})
	}
}

// What can't be read of an interface or an address is left out, or the whole of it.
func TestLinksAndAddressesAreRead(t *testing.T) {
	cut := func(b []byte) *netlinkMessage {
		m, _, ok := cutMessage(b)
		require.True(t, ok)
		return &m
	}
	name := attribute(unix.IFLA_IFNAME, []byte("eth\x00"))
	short := attribute(unix.IFLA_MTU, []byte{1, 2}) // half a number
	ifi, ok := parseLink(cut(message(unix.RTM_NEWLINK, 0, 0, link(3, unix.IFF_UP|unix.IFF_MULTICAST), name, short,
		attribute(unix.IFLA_ADDRESS, make([]byte, 6)), attribute(0x3fff, []byte("unknown")))))
	require.True(t, ok)
	require.Equal(t, "eth", ifi.Name)
	require.Equal(t, 3, ifi.Index)
	require.Zero(t, ifi.MTU)
	require.Equal(t, "up|multicast", ifi.Flags.String())
	require.Len(t, ifi.HardwareAddr, 6)
	for what, m := range map[string][]byte{
		"no name":               message(unix.RTM_NEWLINK, 0, 0, link(3, 0)),
		"an empty name":         message(unix.RTM_NEWLINK, 0, 0, link(3, 0), attribute(unix.IFLA_IFNAME, []byte{0})),
		"half of the fixed":     message(unix.RTM_NEWLINK, 0, 0, link(3, 0)[:8]),
		"another message":       message(unix.RTM_NEWROUTE, 0, 0, link(3, 0), name),
		"an attribute too long": message(unix.RTM_NEWLINK, 0, 0, link(3, 0), name, []byte{200, 0, 1, 0}),
		"one of no length":      message(unix.RTM_NEWLINK, 0, 0, link(3, 0), name, []byte{0, 0, 0, 0}),
	} {
		_, ok := parseLink(cut(m))
		require.False(t, ok, what)
	}

	four := []byte{192, 0, 2, 1}
	index, p, _, ok := parseAddr(cut(message(unix.RTM_NEWADDR, 0, 0, addr(24, 3),
		attribute(unix.IFA_ADDRESS, []byte{192, 0, 2, 9}), attribute(unix.IFA_LOCAL, four))))
	require.True(t, ok)
	require.Equal(t, 3, index)
	require.Equal(t, "192.0.2.1/24", p.String(), "the own end, not the other one")
	for what, m := range map[string][]byte{
		"no address":            message(unix.RTM_NEWADDR, 0, 0, addr(24, 3)),
		"one of three bytes":    message(unix.RTM_NEWADDR, 0, 0, addr(24, 3), attribute(unix.IFA_LOCAL, four[:3])),
		"too long a prefix":     message(unix.RTM_NEWADDR, 0, 0, addr(33, 3), attribute(unix.IFA_LOCAL, four)),
		"half of the fixed":     message(unix.RTM_NEWADDR, 0, 0, addr(24, 3)[:4]),
		"an attribute too long": message(unix.RTM_NEWADDR, 0, 0, addr(24, 3), attribute(unix.IFA_LOCAL, four), []byte{200, 0, 1, 0}),
	} {
		_, _, _, ok := parseAddr(cut(m))
		require.False(t, ok, what)
	}
}

// FuzzNetlink: whatever a netlink socket brings, reading it neither panics nor
// says what can't be. The seeds are short: go test -fuzz takes a time that grows
// with the square of an input's length to shorten it.
func FuzzNetlink(f *testing.F) {
	for _, b := range [][]byte{
		{},
		message(unix.RTM_DELLINK, 0, 0, link(3, 0)),
		message(unix.NLMSG_ERROR, 0, 7, []byte{1, 0, 0, 0}),
		message(unix.NLMSG_DONE, 0, 7),
		slices.Concat(
			message(unix.RTM_NEWLINK, unix.NLM_F_MULTI, 7, link(3, unix.IFF_UP), attribute(unix.IFLA_IFNAME, []byte("eth\x00"))),
			message(unix.RTM_NEWADDR, unix.NLM_F_MULTI, 7, addr(24, 3), attribute(unix.IFA_LOCAL, []byte{192, 0, 2, 1}))),
		// An attribute of five bytes, and no padding.
		append(message(unix.RTM_NEWLINK, 0, 7, link(3, 0)), 5, 0, 3, 0, 'e'),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clip(slices.Clone(b)) // so that reading beyond it panics
		known := []socket.Interface{iface(1, "lo", 0), iface(3, "eth", 0)}
		n := Namespace{}
		n.tellApart(known)
		n.hear(b)
		lost := n.seen == nil
		l := listing{seq: 7}
		var unread *os.SyscallError
		if _, err := l.take(b); errors.As(err, &unread) && unread.Syscall == "recvfrom" {
			require.True(t, lost, "half a message, and no news were lost")
		}
		for i := range l.messages {
			m := &l.messages[i]
			if ifi, ok := parseLink(m); ok {
				require.NotEmpty(t, ifi.Name)
				require.NotContains(t, ifi.Name, "\x00")
			}
			if _, p, _, ok := parseAddr(m); ok {
				require.True(t, p.IsValid())
			}
		}
	})
}

// An interface is another one when the one of its index has gone, or when it has
// lost what was joined on it since its packets became too short; not at any other
// news. What has gone is forgotten.
func TestInterfacesAreDistinguished(t *testing.T) {
	withMTU := func(mtu uint32) []byte {
		return message(unix.RTM_NEWLINK, 0, 0, link(3, unix.IFF_UP), attribute(unix.IFLA_IFNAME, []byte("eth\x00")),
			attribute(unix.IFLA_MTU, ne.AppendUint32(nil, mtu)))
	}
	bridged := link(3, 0)
	bridged[0] = unix.AF_BRIDGE
	n := Namespace{}
	look := func(indexes ...int) (seen [][2]uint64) {
		var ifs []socket.Interface
		for _, index := range indexes {
			ifs = append(ifs, iface(index, "eth", 0))
			ifs[len(ifs)-1].MTU = 1500
		}
		n.tellApart(ifs)
		for _, ifi := range ifs {
			seen = append(seen, [2]uint64{ifi.Generation, ifi.Emptied})
		}
		return seen
	}
	last := look(2, 3)
	require.NotEqual(t, last[0], last[1])
	for _, news := range []struct {
		name    string
		b       []byte
		another bool
	}{
		{"a shorter MTU", withMTU(1280), false},
		{"too short for IPv6", withMTU(1279), true},
		{"still too short", withMTU(1000), false},
		{"long enough again", withMTU(1500), false},
		{"too short in between", slices.Concat(withMTU(1000), withMTU(1500)), true},
		{"too short for IPv6", withMTU(68), true},
		{"and for IPv4", withMTU(67), true},
		{"long enough again", withMTU(1500), false},
		{"news without an MTU", message(unix.RTM_NEWLINK, 0, 0, link(3, 0), attribute(unix.IFLA_IFNAME, []byte("eth\x00"))), false},
		{"a bridge lets it go", message(unix.RTM_DELLINK, 0, 0, bridged), false},
		{"it goes", message(unix.RTM_DELLINK, 0, 0, link(3, 0)), true},
	} {
		n.hear(news.b)
		now := look(2, 3)
		require.Equal(t, last[0], now[0], news.name)
		require.Equal(t, news.another, last[1] != now[1], news.name)
		require.Equal(t, news.name == "it goes", last[1][0] != now[1][0], news.name)
		last = now
	}
	look(2)
	require.Len(t, n.seen, 1)
	require.NotEqual(t, last[1], look(2, 3)[1], "it was away")
	for i := range int32(1000) {
		look(2, int(i)+10)
		n.hear(message(unix.RTM_DELLINK, 0, 0, link(i+10, 0)))
	}
	require.Len(t, n.seen, 1)
	n.hear([]byte{1, 2, 3})
	require.NotEqual(t, last[0], look(2)[0], "news were lost")
}

// When news were lost, every interface may be another one.
func TestLostEventsAreMadeUpFor(t *testing.T) {
	netns.Run(t, func() {
		ns := netns.New(t)
		ns.IP("link add one type bridge")
		ns.IP("link add two type bridge")
		news, gate, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
		var n *Namespace
		var stop func()
		ns.Do(func() {
			var err error
			n, err = Here()
			require.NoError(t, err)
			stop, err = n.Watch(func() {
				select {
				case news <- struct{}{}:
				case <-end:
				}
				<-gate
			})
			require.NoError(t, err)
		})
		generations := func() (all []uint64) {
			ifs, err := n.Interfaces()
			require.NoError(t, err)
			require.Len(t, ifs, 3)
			for _, ifi := range ifs {
				all = append(all, ifi.Generation)
			}
			return all
		}
		before := generations()
		ns.IP("link set one up")
		<-news // and no more are read
		batch := filepath.Join(t.TempDir(), "batch")
		require.NoError(t, os.WriteFile(batch, []byte(strings.Repeat("link set one mtu 1400\nlink set one mtu 1500\n", 200)), 0o600))
		for !lostNetlink(t, ns) {
			ns.IP("-batch " + batch)
		}
		require.Equal(t, before, generations(), "nobody knows yet")
		close(gate)
		for slices.Equal(before, generations()) {
			<-news
		}
		for i, generation := range generations() {
			require.NotEqual(t, before[i], generation)
		}
		close(end)
		stop()
		n.Close()
	})
}

// lostNetlink reports whether the kernel has dropped what was for a netlink socket of ns.
func lostNetlink(t *testing.T, ns *netns.NS) bool {
	t.Helper()
	for _, line := range strings.Split(ns.Command("cat", "/proc/net/netlink"), "\n")[1:] {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if f := strings.Fields(line); len(f) > 8 && f[8] != "0" {
			return true
		}
	}
	return false
}
