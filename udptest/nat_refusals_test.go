package udptest_test

import (
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// refusedAt sends from a connected and from an unconnected socket of a host, and
// returns what either hears within a minute.
func refusedAt(t *testing.T, h *udptest.Host, to netip.AddrPort) (heard []*udp.Refusal) {
	t.Helper()
	cfg := on(h)
	cfg.PeerErrors = true
	connected, open := udp.NewQueue(10, udp.Block), udp.NewQueue(10, udp.Block)
	require.NoError(t, dial(t, cfg, "udp4", to.String(), connected).Send([]byte("anybody?")))
	require.NoError(t, listen(t, cfg, "udp4", ":0", open).SendTo([]byte("anybody?"), to))
	time.Sleep(time.Minute)
	synctest.Wait()
	for _, q := range []*udp.Queue{connected, open} {
		if len(q.Refusals()) > 0 {
			heard = append(heard, <-q.Refusals())
		}
	}
	return heard
}

// Mappings of one inside socket, of which each outside one has its own.
func TestARefusalFromInsideIsAboutTheMappingThatWasAsked(t *testing.T) {
	for _, filtering := range []udptest.NATKind{udptest.EndpointIndependent, udptest.AddressAndPortDependent} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Mapping: udptest.AddressAndPortDependent, Filtering: filtering})
			x, x2, y := v.out(t, v.xc), v.out(t, v.x2c), v.out(t, v.yc)
			closed(t, v.c)
			for c, mapped := range map[*udp.Conn]netip.AddrPort{v.xc: x, v.x2c: x2, v.yc: y} {
				h := v.x
				if c == v.yc {
					h = v.y
				}
				from := v.addr(c)
				closed(t, c)
				cfg := on(h)
				cfg.PeerErrors = true
				q := udp.NewQueue(10, udp.Block)
				again := listen(t, cfg, "udp4", from.String(), q)
				require.NoError(t, again.SendTo([]byte("anybody?"), mapped))
				r := <-q.Refusals()
				require.Equal(t, mapped, r.Peer)
				require.Equal(t, mapped.Addr(), r.Offender)
				if filtering == udptest.EndpointIndependent { // by another's mapping
					other := x
					if mapped == x {
						other = y
					}
					require.NoError(t, again.SendTo([]byte("anybody?"), other))
					require.Equal(t, other, (<-q.Refusals()).Peer)
				}
			}
		})
	}
}

func TestARefusalFromInsideDoesNotOutliveItsMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := behindNAT(t, udptest.NATConfig{Timeout: 2 * time.Second})
		x := v.out(t, v.xc)
		closed(t, v.c)
		v.in.Out().Set(udptest.Faults{Latency: 3 * time.Second})
		require.Empty(t, refusedAt(t, v.x, x))
	})
}

func TestANATRefusesInItsOwnName(t *testing.T) {
	prohibit := func(udptest.Packet) udptest.Action { return udptest.Prohibit }
	for name, tt := range map[string]struct {
		breaks func(v *natted)
		want   syscall.Errno
	}{
		"nobody listens inside":   {func(v *natted) { v.c.Close(); <-v.c.Done() }, syscall.ECONNREFUSED},
		"the host inside is gone": {func(v *natted) { v.in.Interface("eth0").Remove() }, syscall.EHOSTUNREACH},
		"the router prohibits it": {func(v *natted) { v.router.SetFilter(prohibit) }, syscall.EHOSTUNREACH},
	} {
		for _, hairpin := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				v := behindNAT(t, udptest.NATConfig{Hairpin: true})
				x := v.out(t, v.xc)
				tt.breaks(v)
				from := v.x
				if hairpin {
					from = v.in2
				}
				heard := refusedAt(t, from, x)
				require.Len(t, heard, 2, "%s, hairpin %v", name, hairpin)
				for _, r := range heard {
					require.ErrorIs(t, r, tt.want, name)
					require.Equal(t, x, r.Peer, name)
					require.Equal(t, x.Addr(), r.Offender, name)
				}
			})
		}
	}
}

func TestWhatIsTooBigOutsideIsReportedInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := behindNAT(t, udptest.NATConfig{})
		v.router.Interface("eth1").Out().Set(udptest.Faults{MTU: 1000})
		cfg := on(v.in)
		q := udp.NewQueue(10, udp.Block)
		require.NoError(t, dial(t, cfg, "udp4", "198.51.100.1:1", q).Send(make([]byte, 1200)))
		r := <-q.Refusals()
		require.Equal(t, 1000, r.MTU)
		require.Equal(t, "198.51.100.1:1", r.Peer.String())
		require.Equal(t, "192.168.0.254", r.Offender.String())
	})
}

func TestANATFiltersHairpinsToo(t *testing.T) {
	for kind, want := range map[udptest.NATKind]int{udptest.EndpointIndependent: 1, udptest.AddressDependent: 0} {
		synctest.Test(t, func(t *testing.T) {
			v := behindNAT(t, udptest.NATConfig{Hairpin: true, Filtering: kind})
			x := v.out(t, v.xc)
			c := listen(t, on(v.in2), "udp4", ":0", udp.BaseHandler{})
			require.NoError(t, c.SendTo([]byte("round"), x))
			settle()
			require.Len(t, texts(v.q), want)
		})
	}
}

func TestPortsOfANATAreItsRoutersToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := behindNAT(t, udptest.NATConfig{})
		q := udp.NewQueue(10, udp.Block)
		// What a socket of the router has is mapped to nobody,
		own := listen(t, on(v.router), "udp4", ":5000", q)
		x := v.out(t, v.xc)
		require.NotEqual(t, uint16(5000), x.Port())
		require.NoError(t, v.xc.SendTo([]byte("to the router"), netip.AddrPortFrom(x.Addr(), 5000)))
		settle()
		require.Equal(t, []string{"to the router"}, texts(q))
		closed(t, own)
		// and what is mapped no socket gets, as long as it is.
		for _, address := range []string{":" + port(x), x.String()} {
			_, err := on(v.router).Listen(ctx, "udp4", address, udp.BaseHandler{})
			require.ErrorIs(t, err, syscall.EADDRINUSE)
		}
		listen(t, on(v.router), "udp4", "192.168.0.254:"+port(x), udp.BaseHandler{})
		listen(t, on(v.router), "udp6", ":"+port(x), udp.BaseHandler{})
		_, err := on(v.router).Listen(ctx, "udp", ":"+port(x), udp.BaseHandler{})
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		time.Sleep(2 * time.Minute)
		listen(t, on(v.router), "udp4", x.String(), udp.BaseHandler{})
	})
}

func port(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

// The port that a socket of the router would get is one that the NAT has given away.
func TestARouterGivesNoMappedPortToItsSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := behindNAT(t, udptest.NATConfig{})
		first := listen(t, on(v.router), "udp4", ":0", udp.BaseHandler{}).LocalAddrPort().Port()
		synctest.Wait()
		w := behindNAT(t, udptest.NATConfig{})
		c := listen(t, on(w.in), "udp4", ":"+strconv.Itoa(int(first)), udp.BaseHandler{})
		require.NoError(t, c.SendTo([]byte("mapped"), w.addr(w.xc)))
		settle()
		require.Equal(t, first, (<-w.xq.Datagrams()).From.Port())
		require.Equal(t, first+1, listen(t, on(w.router), "udp4", ":0", udp.BaseHandler{}).LocalAddrPort().Port())
	})
}
