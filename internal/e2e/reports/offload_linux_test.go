package reports

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// paths connect two namespaces with addresses 192.0.2.1 and 192.0.2.2 in one of the ways
// that are known to break segmented sends.
var paths = map[string]func(t *testing.T, l lab){
	"VXLAN": func(t *testing.T, l lab) {
		tunnel(t, l, "type vxlan id 7 dev DEV remote OTHER local OWN dstport 4789")
	},
	"a tunnel with a small MTU": func(t *testing.T, l lab) {
		tunnel(t, l, "mtu 900 type vxlan id 7 dev DEV remote OTHER local OWN dstport 4789")
	},
	"no offload of the device": func(t *testing.T, l lab) {
		l.s.Command("ethtool", "-K", "s1", "tx", "off", "gso", "off")
		l.s.Addr("s1", "192.0.2.1/24")
		l.c.Addr("c1", "192.0.2.2/24")
	},
	"XFRM": func(t *testing.T, l lab) { // segmented sends fail with EIO
		l.s.Addr("s1", "192.0.2.1/24")
		l.c.Addr("c1", "192.0.2.2/24")
		encrypt(t, l)
	},
}

// tunnel makes a device tun0 in both namespaces, over the first cable.
func tunnel(t *testing.T, l lab, how string) {
	t.Helper()
	for i, ns := range []*netns.NS{l.s, l.c} {
		device, own, other := [2]string{"s1", "c1"}[i], fmt.Sprintf("10.0.1.%d", i+1), fmt.Sprintf("10.0.1.%d", 2-i)
		line := "link add tun0 " + strings.NewReplacer("DEV", device, "OTHER", other, "OWN", own).Replace(how)
		if out, err := ns.Try("sh", "-c", "ip "+line); err != nil {
			t.Skip("no such tunnel:", out)
		}
		ns.IP("link set tun0 up")
		ns.Addr("tun0", fmt.Sprintf("192.0.2.%d/24", i+1))
	}
}

// encrypt makes the hosts use ESP between the two addresses.
func encrypt(t *testing.T, l lab) {
	t.Helper()
	const keys = "enc cbc(aes) 0x00112233445566778899aabbccddeeff auth hmac(sha1) 0x000102030405060708090a0b0c0d0e0f10111213"
	for i, ns := range []*netns.NS{l.s, l.c} {
		for n, way := range []string{"src 192.0.2.1 dst 192.0.2.2", "src 192.0.2.2 dst 192.0.2.1"} {
			state := fmt.Sprintf("ip xfrm state add %s proto esp spi %d mode transport %s", way, 7+n, keys)
			if out, err := ns.Try("sh", "-c", quoted(state)); err != nil {
				t.Skip("no ESP:", out)
			}
			dir := "out"
			if n != i {
				dir = "in"
			}
			ns.IP("xfrm policy add " + way + " dir " + dir + " tmpl proto esp mode transport")
		}
	}
}

// quoted protects the parentheses of the names of algorithms from the shell.
func quoted(s string) (q string) {
	for _, r := range s {
		if r == '(' || r == ')' {
			q += "\\"
		}
		q += string(r)
	}
	return q
}

// Report 34: a segmented send succeeds but sends one segment, or fails with EIO. On any path
// each datagram of a batch arrives once, and destinations on other paths keep their segments.
func TestSegmentedSendsOverOtherPaths(t *testing.T) {
	for name, connect := range paths {
		t.Run(name, func(t *testing.T) {
			netns.Run(t, func() {
				l := newLab(t)
				connect(t, l)
				server := listen(t, l.c, udp.Config{ReadBuffer: 16 << 20}, "udp4", ":0", nil)
				c := listen(t, l.s, udp.Config{WriteBuffer: 16 << 20}, "udp4", ":0", nil)
				d := dial(t, l.s, udp.Config{WriteBuffer: 16 << 20}, server.at("192.0.2.2").String())
				segments := c.Info().Segments
				asks(t, server, func(q string) error { return c.SendTo([]byte(q), server.at("192.0.2.2")) })
				for how, s := range map[string]*socket{"unconnected": c, "connected": d} {
					const n, each = 3000, 100
					seen := make([]int, n)
					for first := 0; first < n; first += each {
						ms := make([]udp.Message, each)
						for i := range ms {
							ms[i].Data = make([]byte, 1000)
							binary.BigEndian.PutUint32(ms[i].Data, uint32(first+i))
							if how == "unconnected" {
								ms[i].To = server.at("192.0.2.2")
							}
						}
						sent, err := s.SendBatch(ms)
						require.NoError(t, err)
						require.Equal(t, each, sent)
						for range each { // so that no buffer on the way is full
							r := sockettest.Next(t, server.got)
							for r.data == "question" {
								r = sockettest.Next(t, server.got)
							}
							require.Len(t, r.data, 1000)
							seen[binary.BigEndian.Uint32([]byte(r.data))]++
						}
					}
					for i := range seen {
						require.Equal(t, 1, seen[i], "%s datagram %d", how, i)
					}
					require.Zero(t, s.Stats().SendErrors)
				}
				segments = min(segments, 64) // what a large send finds out on an older kernel
				require.GreaterOrEqual(t, c.Info().Segments, segments, "other destinations keep theirs")
				require.GreaterOrEqual(t, d.Info().Segments, segments)
				require.Zero(t, server.Stats().KernelDrops)
			})
		})
	}
}

// Report 29: transmit timestamps that the program itself has enabled arrive in the error
// queue. On a connected socket they are not taken for ICMP errors and delay nothing. On an
// unconnected one they do not fill the receive buffer.
func TestTransmitTimestampsOfTheProgramsOwn(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		const stamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_ID
		stamped := udp.Config{Control: func(_, _ string, rc syscall.RawConn) (err error) {
			cerr := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING, stamps)
			})
			if err == nil {
				err = cerr
			}
			return err
		}}
		server := listen(t, l.c, udp.Config{}, "udp4", ":0", echo(t))
		d := dial(t, l.s, stamped, server.at("10.0.1.2").String())
		for i := range 1000 {
			require.NoError(t, d.send("x"))
			if i%50 == 49 { // so that no buffer on the way is full
				for range 50 {
					require.Equal(t, "x", sockettest.Next(t, d.got).data)
					sockettest.Next(t, server.got)
				}
			}
		}
		s := d.Stats()
		require.Zero(t, s.Refused)
		require.Zero(t, s.RefusalsLost)
		require.Zero(t, s.Retried)
		require.Zero(t, s.ReadErrors)

		c := listen(t, l.s, stamped, "udp4", ":0", nil)
		for range 40 {
			for range 50 {
				require.NoError(t, c.SendTo([]byte("y"), server.at("10.0.1.2")))
			}
			for range 50 {
				require.Equal(t, "y", sockettest.Next(t, c.got).data)
				sockettest.Next(t, server.got)
			}
		}
		require.Zero(t, c.Stats().KernelDrops)
		require.Zero(t, c.Stats().ReadErrors)
	})
}

// Report 21: the kernel does not coalesce datagrams of different TTLs, so each has its own.
func TestTTLsOfCoalescedDatagrams(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		for _, address := range []string{"10.0.1.2", "fd00:1::2"} {
			server := listen(t, l.c, udp.Config{}, "udp", ":0", nil)
			c := listen(t, l.s, udp.Config{}, "udp", ":0", nil)
			ms := make([]udp.Message, 60)
			for i := range ms {
				ms[i] = udp.Message{Data: []byte{byte(100 + i/10)}, To: server.at(address), TTL: 100 + i/10}
			}
			n, err := c.SendBatch(ms)
			require.NoError(t, err)
			require.Equal(t, len(ms), n)
			for range ms {
				r := sockettest.Next(t, server.got)
				require.Equal(t, int(r.data[0]), r.ttl)
			}
		}
	})
}

// Report 23: a socket with more groups than the kernel allows one socket joins the others on
// other sockets. All of them are for the device that the socket is bound to.
func TestManyGroupsOnOneDevice(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		got := make(chan netip.Addr, 1000)
		var m *udp.MulticastConn
		l.c.Do(func() {
			var err error
			m, err = udp.Config{Device: "c1"}.ListenMulticast(context.Background(), "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
				got <- d.To().Addr()
			}))
			require.NoError(t, err)
		})
		sockettest.CloseAtEnd(t, m.Conn)
		from := in(t, l.s, nil, func(h udp.Handler) (*udp.Conn, error) {
			m, err := udp.ListenMulticast(context.Background(), "udp4", ":0", h)
			return m.Conn, err
		})
		multicast, _ := from.Multicast()
		for i := range 30 {
			group := netip.AddrFrom4([4]byte{239, 1, 2, byte(i)})
			require.NoError(t, m.Join(group))
			for _, by := range []string{"s2", "s1"} {
				_, err := multicast.SendGroup([]byte(by), group, m.LocalAddrPort().Port(), l.s.Interface(by))
				require.NoError(t, err)
			}
			require.Equal(t, group, sockettest.Next(t, got))
			require.Empty(t, got, "the other device's")
		}
	})
}

// Report 29: OnTransmit reports when each datagram left, for both families and all kinds of
// sockets, and does not delay ICMP errors.
func TestTransmitTimestamps(t *testing.T) {
	netns.Run(t, func() {
		l := newLab(t)
		l.ipv6()
		for _, address := range []string{"10.0.1.2", "fd00:1::2"} {
			server := listen(t, l.c, udp.Config{}, "udp", ":0", nil)
			type stamp struct {
				n  uint32
				at time.Time
			}
			stamps := make(chan stamp, 10_000)
			cfg := udp.Config{OnTransmit: func(_ *udp.Conn, n uint32, at time.Time) { stamps <- stamp{n, at} }}
			start := time.Now()
			check := func(s *socket, to netip.AddrPort) {
				t.Helper()
				ms := make([]udp.Message, 100)
				for i := range ms {
					ms[i] = udp.Message{Data: []byte("x"), To: to}
				}
				for round := range 3 {
					n, err := s.SendBatch(ms)
					require.NoError(t, err)
					require.Equal(t, len(ms), n)
					for i := range ms {
						sockettest.Next(t, server.got)
						got := sockettest.Next(t, stamps)
						require.EqualValues(t, round*len(ms)+i, got.n)
						require.False(t, got.at.Before(start.Add(-time.Second)) || got.at.After(time.Now().Add(time.Second)), "%v", got.at)
					}
				}
				require.Zero(t, s.Stats().RefusalsLost)
				require.Zero(t, s.Stats().Refused)
				require.Zero(t, s.Stats().ReadErrors)
			}
			check(listen(t, l.s, cfg, "udp", ":0", nil), server.at(address))
			check(dial(t, l.s, cfg, server.at(address).String()), netip.AddrPort{})

			refused := make(chan *udp.Refusal, 1)
			var c *udp.ConnectedConn
			l.s.Do(func() {
				var err error
				c, err = cfg.Dial(context.Background(), "udp", netip.AddrPortFrom(netip.MustParseAddr(address), 9).String(), refusals{refused: refused})
				require.NoError(t, err)
			})
			sockettest.CloseAtEnd(t, c.Conn)
			require.NoError(t, c.Send([]byte("x")))
			require.ErrorIs(t, sockettest.Next(t, refused), udp.ErrRefused)
			require.Zero(t, sockettest.Next(t, stamps).n)
		}
	})
}
