package reports

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// patient is a Config for programs that start before the network.
func patient(cfg udp.Config) udp.Config {
	cfg.WaitForNetwork = true
	return cfg
}

// opened is the result of a call that waited.
type opened struct {
	c   *udp.Conn
	err error
}

// whileWaiting calls open in a namespace, then configure, and returns what open returned. It
// ends the wait if configure ends the test.
func whileWaiting(t *testing.T, ns *netns.NS, open func(ctx context.Context) (*udp.Conn, error), configure func()) *udp.Conn {
	t.Helper()
	result, running := make(chan opened, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go ns.Do(func() {
		close(running)
		c, err := open(ctx)
		result <- opened{c, err}
	})
	sockettest.Next(t, running)
	configured := false
	defer func() {
		if !configured {
			cancel()
			if got := <-result; got.c != nil {
				got.c.Close()
			}
		}
	}()
	configure()
	configured = true
	got := sockettest.Next(t, result)
	cancel()
	require.NoError(t, got.err)
	sockettest.CloseAtEnd(t, got.c)
	return got.c
}

// Report 19: a daemon that starts at boot dials before there is a route. Without
// WaitForNetwork it fails, with it the call waits, within its context; and the socket still
// reports ICMP errors.
func TestDialBeforeTheNetwork(t *testing.T) {
	netns.Run(t, func() {
		s, c := netns.New(t), netns.New(t)
		netns.Veth(t, s, "eth", c, "eth")
		s.Addr("eth", "192.0.2.1/24")
		s.Addr("lo", "203.0.113.1/32")
		s.Addr("eth", "2001:db8::1/64")
		ctx := context.Background()
		for _, step := range []struct{ peer, address, route string }{
			{"192.0.2.1:9", "192.0.2.2/24", ""},
			{"203.0.113.1:9", "192.0.2.2/24", "route add default via 192.0.2.1"}, // no change of an interface
			{"[2001:db8::1]:9", "2001:db8::2/64", ""},
		} {
			refused := make(chan *udp.Refusal, 100)
			dial := func(ctx context.Context, cfg udp.Config) (*udp.Conn, error) {
				d, err := cfg.Dial(ctx, "udp", step.peer, refusals{refused: refused})
				if err != nil {
					return nil, err
				}
				return d.Conn, nil
			}
			c.IP("addr flush dev eth")
			c.Do(func() {
				_, err := dial(ctx, udp.Config{})
				require.ErrorIs(t, err, unix.ENETUNREACH)
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				_, err = dial(short, patient(udp.Config{}))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, unix.ENETUNREACH)
				var op *net.OpError
				require.ErrorAs(t, err, &op)
				require.Equal(t, "dial", op.Op)
				require.Equal(t, step.peer, op.Addr.String())
			})
			conn := whileWaiting(t, c, func(ctx context.Context) (*udp.Conn, error) { return dial(ctx, patient(udp.Config{})) }, func() {
				c.Addr("eth", step.address)
				if step.route != "" {
					c.IP(step.route)
				}
			})
			connected, ok := conn.Connected()
			require.True(t, ok)
			sockettest.Eventually(t, func() bool { // the first may be lost to neighbour discovery
				_ = connected.Send([]byte("x"))
				return len(refused) > 0
			})
			require.ErrorIs(t, <-refused, udp.ErrRefused)
		}
	})
}

// refusals is a Handler that keeps the ICMP errors.
type refusals struct {
	udp.BaseHandler
	refused chan *udp.Refusal
}

func (r refusals) Refused(_ *udp.Conn, e *udp.Refusal) {
	select {
	case r.refused <- e:
	default:
	}
}

// Reports 11, 19 and 26: Listen on an address, a zone or a device that is not there yet.
func TestListenBeforeTheNetwork(t *testing.T) {
	netns.Run(t, func() {
		ctx := context.Background()
		for name, step := range map[string]struct {
			cfg              udp.Config
			network, address string
			configure        func(ns *netns.NS)
		}{
			"address": {udp.Config{}, "udp4", "192.0.2.1:0", func(ns *netns.NS) { ns.Addr("lo", "192.0.2.1/32") }},
			"device": {udp.Config{Device: "wg9"}, "udp", ":0", func(ns *netns.NS) {
				netns.Veth(t, ns, "wg9", netns.New(t), "end")
			}},
			"zone": {udp.Config{}, "udp6", "[fe80::1%wg9]:0", func(ns *netns.NS) {
				netns.Veth(t, ns, "wg9", netns.New(t), "end")
				ns.Addr("wg9", "fe80::1/64")
			}},
			"tentative": {udp.Config{}, "udp6", "[2001:db8::1]:0", func(ns *netns.NS) {
				netns.Veth(t, ns, "wg9", netns.New(t), "end")
				ns.IP("-6 addr add 2001:db8::1/64 dev wg9") // with duplicate address detection
			}},
		} {
			ns := netns.New(t)
			ns.Do(func() {
				_, err := step.cfg.Listen(ctx, step.network, step.address, udp.BaseHandler{})
				require.Error(t, err, name)
			})
			t.Logf("%s", name)
			c := whileWaiting(t, ns, func(ctx context.Context) (*udp.Conn, error) {
				return patient(step.cfg).Listen(ctx, step.network, step.address, udp.BaseHandler{})
			}, func() { step.configure(ns) })
			require.NotZero(t, c.LocalAddrPort().Port())
		}
		// Failures for other reasons than a missing network are errors at once.
		taken, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
		require.NoError(t, err)
		defer sockettest.Finish(t, taken)
		_, err = patient(udp.Config{}).Listen(ctx, "udp4", taken.LocalAddrPort().String(), udp.BaseHandler{})
		require.ErrorIs(t, err, unix.EADDRINUSE)
	})
}

// Report 20: Join of an interface that does not exist yet, by its name, and of all in a
// namespace whose lo is down; then on a link without a carrier, and on one without an IPv4
// address.
func TestJoinBeforeTheInterface(t *testing.T) {
	netns.Run(t, func() {
		ns := netns.New(t)
		ns.IP("link set lo down")
		group := netip.MustParseAddr("239.1.2.3")
		changes := make(chan udp.Membership, 100)
		cfg := patient(udp.Config{OnMembership: func(_ *udp.MulticastConn, m udp.Membership) { changes <- m }})
		q := udp.NewQueue(100, udp.Block)
		var impatient, m *udp.MulticastConn
		ns.Do(func() {
			_, err := udp.ListenMulticast(context.Background(), "udp4", ":0", udp.BaseHandler{}, group)
			require.ErrorIs(t, err, unix.ENODEV)
			impatient, err = udp.ListenMulticast(context.Background(), "udp4", ":0", udp.BaseHandler{})
			require.NoError(t, err)
			require.ErrorIs(t, impatient.Join(group, &net.Interface{Name: "wg9"}), unix.ENODEV)
			require.Empty(t, impatient.Memberships())
			m, err = cfg.ListenMulticast(context.Background(), "udp4", ":0", q, group)
			require.NoError(t, err)
		})
		sockettest.CloseAtEnd(t, impatient.Conn, m.Conn)
		named := netip.MustParseAddr("239.1.2.4")
		require.NoError(t, m.Join(named, &net.Interface{Name: "wg9"}))
		require.Len(t, m.Memberships(), 2)
		for _, s := range m.Memberships() {
			require.False(t, s.Held())
		}

		there := netns.New(t)
		netns.Veth(t, ns, "wg9", there, "end")
		there.Addr("end", "192.0.2.2/24")
		held := func(g netip.Addr) {
			t.Helper()
			for c := range changes {
				if c.Group == g && c.Held() && c.On[0].Name == "wg9" {
					return
				}
			}
		}
		held(named) // without any address
		ns.Addr("wg9", "192.0.2.1/24")
		held(group)
		from := listen(t, there, udp.Config{}, "udp4", "192.0.2.2:0", nil)
		there.IP("route add 224.0.0.0/4 dev end")
		for _, g := range []netip.Addr{group, named} {
			require.NoError(t, from.SendTo([]byte("x"), netip.AddrPortFrom(g, m.LocalAddrPort().Port())))
			d, err := q.Receive(context.Background())
			require.NoError(t, err)
			require.Equal(t, g, d.To().Addr())
			d.Release()
		}

		there.IP("link set end down") // no carrier
		require.NoError(t, impatient.Join(named, ns.Interface("wg9")))
		require.True(t, impatient.Memberships()[0].Held())
	})
}
