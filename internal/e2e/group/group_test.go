package group_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// listen opens a group whose members reply, and closes it with the test.
func listen(t *testing.T, cfg udp.Config, n int, network, address string) *udp.Group {
	t.Helper()
	g, err := cfg.ListenGroup(t.Context(), n, network, address, member)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, g.Close())
		<-g.Done()
	})
	return g
}

// target returns the address that the clients of a group send to.
func target(network string, to netip.AddrPort) netip.AddrPort {
	switch a := to.Addr(); {
	case !a.IsUnspecified():
		return to
	case network == "udp6":
		return netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
}

func shutdown(t *testing.T, s interface{ Shutdown(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
}

// members returns how many sockets a group of n has on this system.
func members(g *udp.Group, n int) int {
	if g.Steering() == udp.SteeringNone {
		return 1
	}
	return n
}

func TestEachMemberGetsItsShare(t *testing.T) {
	for _, test := range []struct{ network, address string }{
		{"udp", "127.0.0.1:0"}, {"udp4", "127.0.0.1:0"}, {"udp", "localhost:0"}, {"udp4", ":0"},
		{"udp", ":0"}, {"udp6", "[::1]:0"}, {"udp6", "[::]:0"},
	} {
		t.Run(test.network+" "+test.address, func(t *testing.T) {
			g := listen(t, udp.Config{}, 3, test.network, test.address)
			n := members(g, 3)
			require.Len(t, g.Conns(), n)
			to := g.LocalAddrPort()
			require.NotZero(t, to.Port())
			for _, c := range g.Conns() {
				assert.Equal(t, to, c.LocalAddrPort())
				assert.Equal(t, g.Steering(), c.Info().Steering)
			}
			c := newClients(t, 100, target(test.network, to))
			first := c.round()
			assert.Equal(t, first, c.round(), "flows stay where they are")
			s := g.Stats()
			require.Len(t, s.Members, n)
			assert.EqualValues(t, 200, s.Total.Received)
			for i, m := range s.Members {
				assert.NotZero(t, m.Received, "member %d", i)
			}
			assert.Less(t, s.Skew(), 2.0)
			assert.GreaterOrEqual(t, s.Skew(), 1.0)
		})
	}
}

func TestDefaultIsOnePerProcessor(t *testing.T) {
	g := listen(t, udp.Config{}, 0, "udp4", "127.0.0.1:0")
	assert.Len(t, g.Conns(), members(g, runtime.GOMAXPROCS(0)))
	assert.Zero(t, g.Stats().Skew(), "without datagrams")
}

// A group on port 0 never joins another one, as the kernel lets sockets with
// SO_REUSEPORT do.
func TestPortOfItsOwn(t *testing.T) {
	used := map[uint16]bool{}
	for range 1000 {
		g := listen(t, udp.Config{}, 1, "udp4", "127.0.0.1:0")
		port := g.LocalAddrPort().Port()
		require.False(t, used[port], "port %d is another group's", port)
		used[port] = true
	}
}

func TestErrorsOpenNothing(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer taken.Close()
	var opened atomic.Int32
	refuse := errors.New("not a third one")
	third := udp.Config{Control: func(string, string, syscall.RawConn) error {
		if opened.Add(1) == 3 {
			return refuse
		}
		return nil
	}}
	var none *udp.Queue
	for name, test := range map[string]struct {
		cfg     udp.Config
		n       int
		address string
		f       func(int) udp.Handler
		err     error
	}{
		"nil function":        {n: 2, address: "127.0.0.1:0", err: os.ErrInvalid},
		"nil Handler":         {n: 2, address: "127.0.0.1:0", f: func(int) udp.Handler { return nil }, err: os.ErrInvalid},
		"nil Queue":           {n: 2, address: "127.0.0.1:0", f: func(int) udp.Handler { return none }, err: os.ErrInvalid},
		"too many":            {n: 257, address: "127.0.0.1:0", f: member, err: os.ErrInvalid},
		"multicast":           {n: 2, address: "224.0.0.251:0", f: member, err: os.ErrInvalid},
		"port taken":          {n: 2, address: taken.LocalAddr().String(), f: member, err: syscall.EADDRINUSE},
		"not this host's":     {n: 2, address: "192.0.2.1:0", f: member, err: syscall.EADDRNOTAVAIL},
		"Config is wrong":     {cfg: udp.Config{TTL: 300}, n: 2, address: "127.0.0.1:0", f: member, err: os.ErrInvalid},
		"third socket failed": {cfg: third, n: 3, address: "127.0.0.1:0", f: member, err: refuse},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := test.cfg.ListenGroup(t.Context(), test.n, "udp4", test.address, test.f)
			if err == nil && len(g.Conns()) == 1 && name == "third socket failed" {
				shutdown(t, g)
				t.Skip("there is a single socket")
			}
			require.ErrorIs(t, err, test.err)
			assert.Nil(t, g)
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			assert.Equal(t, "listen", op.Op)
		})
	}
}

func TestNothingIsOpenAfterAnError(t *testing.T) {
	var ports []string
	refuse := errors.New("not a second one")
	cfg := udp.Config{Control: func(_, address string, _ syscall.RawConn) error {
		if ports = append(ports, address); len(ports) == 2 {
			return refuse
		}
		return nil
	}}
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	address := free.LocalAddr().String()
	require.NoError(t, free.Close())
	g, err := cfg.ListenGroup(t.Context(), 2, "udp4", address, member)
	if err == nil {
		g.Close()
		<-g.Done()
		t.Skip("there is a single socket")
	}
	require.ErrorIs(t, err, refuse)
	again, err := net.ListenPacket("udp4", address)
	require.NoError(t, err, "the port is free, also for a socket without SO_REUSEPORT")
	again.Close()
}

// exits is a Handler whose Started ends the goroutine of ListenGroup.
type exits struct{ udp.BaseHandler }

func (exits) Started(*udp.Conn) { runtime.Goexit() }

func TestGoexitInStartedClosesAll(t *testing.T) {
	var first *udp.Conn
	var single *udp.Group
	done := make(chan struct{})
	go func() {
		defer close(done)
		g, _ := udp.Config{}.ListenGroup(t.Context(), 3, "udp4", "127.0.0.1:0", func(i int) udp.Handler {
			if i == 1 {
				return exits{}
			}
			return startedHandler{started: func(c *udp.Conn) { first = c }}
		})
		if single = g; g == nil || len(g.Conns()) > 1 {
			t.Error("ListenGroup has returned")
		}
	}()
	<-done
	if single != nil {
		shutdown(t, single)
		t.Skip("there is a single socket")
	}
	<-first.Done()
	free, err := net.ListenPacket("udp4", first.LocalAddr().String())
	for errors.Is(err, syscall.EADDRINUSE) { // the one that exited is still closing
		runtime.Gosched()
		free, err = net.ListenPacket("udp4", first.LocalAddr().String())
	}
	require.NoError(t, err)
	free.Close()
}

type startedHandler struct {
	udp.BaseHandler
	started func(*udp.Conn)
}

func (h startedHandler) Started(c *udp.Conn) { h.started(c) }

func TestWorkersBehindEachMember(t *testing.T) {
	const n = 2
	var workers [n]*udp.Workers
	g, err := udp.Config{}.ListenGroup(t.Context(), n, "udp4", "127.0.0.1:0", func(i int) udp.Handler {
		w, err := udp.NewWorkers(udp.WorkersConfig{N: 2, Handler: member(i)})
		require.NoError(t, err)
		workers[i] = w
		return w
	})
	require.NoError(t, err)
	c := newClients(t, 50, g.LocalAddrPort())
	c.round()
	shutdown(t, g)
	<-g.Done()
	for i, m := range g.Stats().Members {
		assert.Equal(t, m.Received, workers[i].Stats().Handled, "member %d", i)
	}
	assert.EqualValues(t, 50, g.Stats().Total.Handled)
}

func TestRunShutsDownWithItsContext(t *testing.T) {
	g := listen(t, udp.Config{}, 2, "udp4", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- g.Run(ctx, within) }()
	cancel()
	require.NoError(t, <-ran)
	<-g.Done()
	assert.NoError(t, g.Run(t.Context(), within), "it has ended")
}

// A member stops with an error if its Handler ends the goroutine.
func TestRunReturnsTheErrorOfAMember(t *testing.T) {
	g, err := udp.Config{}.ListenGroup(t.Context(), 2, "udp4", "127.0.0.1:0", func(int) udp.Handler {
		return udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { runtime.Goexit() })
	})
	require.NoError(t, err)
	conn, err := net.Dial("udp4", g.LocalAddr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	var op *net.OpError
	require.ErrorAs(t, g.Run(t.Context(), within), &op)
	assert.Equal(t, "read", op.Op)
	<-g.Done()
	require.ErrorAs(t, g.Err(), &op)
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	g, err := udp.Config{}.ListenGroup(t.Context(), 2, "udp4", "127.0.0.1:0", func(int) udp.Handler {
		return udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
			close(entered)
			<-release
		})
	})
	require.NoError(t, err)
	conn, err := net.Dial("udp4", g.LocalAddr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, g.Shutdown(ctx), context.DeadlineExceeded)
	close(release)
	<-g.Done()
	assert.NoError(t, g.Err())
}

func TestCloseMayBeCalledAgain(t *testing.T) {
	g := listen(t, udp.Config{}, 2, "udp4", "127.0.0.1:0")
	require.NoError(t, g.Close())
	require.NoError(t, g.Close())
	<-g.Done()
	assert.NoError(t, g.Err())
}

func TestSimulatedNetworkHasOneSocket(t *testing.T) {
	host := udptest.NewNet(t, udptest.Config{}).Host("server", "10.0.0.1/24")
	g, err := host.Config().ListenGroup(t.Context(), 4, "udp", ":7", member)
	require.NoError(t, err)
	assert.Len(t, g.Conns(), 1)
	assert.Equal(t, udp.SteeringNone, g.Steering())
	assert.Equal(t, udp.SteeringNone, g.Conns()[0].Info().Steering)
	shutdown(t, g)
	<-g.Done()
}
