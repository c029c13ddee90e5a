package exchange_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/udptest"
)

// The protocol of these tests: four bytes of key, and a text.

func keyOf(b []byte) (uint32, bool) {
	if len(b) < 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

func message(key uint32, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, key), text...)
}

func textOf(d udp.Datagram) string { return string(d.Data[4:]) }

// lan is a simulated network with two servers and a client.
type lan struct {
	net          *udptest.Net
	a, b, client *udptest.Host
}

const (
	serverA = "10.0.0.1:7000"
	serverB = "10.0.0.2:7000"
)

// bubble runs a test in virtual time, on a simulated network.
func bubble(t *testing.T, f func(t *testing.T, l lan)) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		f(t, lan{n, n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2"), n.Host("client", "10.0.0.3")})
	})
}

// settle waits in virtual time until everything that was sent has arrived and was handled.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// end closes a socket and waits for its last callback.
func end(c *udp.Conn) {
	c.Close()
	<-c.Done()
}

// serve listens on port 7000 of a host.
func serve(t testing.TB, h *udptest.Host, f udp.HandlerFunc) *udp.Conn {
	t.Helper()
	c, err := udp.Config{Network: h.Network()}.Listen(t.Context(), "udp", ":7000", f)
	require.NoError(t, err)
	t.Cleanup(func() { end(c) })
	return c
}

// echo is a server that replies with the request, and "!" after it.
func echo(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(append(d.Data, '!')) }

// silent is a server that never replies, and notes when it was asked.
type silent struct {
	mu    sync.Mutex
	times []time.Duration
	begin time.Time
}

func (s *silent) received(*udp.Conn, udp.Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin.IsZero() {
		s.begin = time.Now()
	}
	s.times = append(s.times, time.Since(s.begin))
}

// newClient makes a client on the host called client.
func (l lan) newClient(t testing.TB, cfg exchange.Config[uint32]) *exchange.Client[uint32] {
	t.Helper()
	cfg.Socket.Network = l.client.Network()
	return newClient(t, cfg)
}

func newClient(t testing.TB, cfg exchange.Config[uint32]) *exchange.Client[uint32] {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = keyOf
	}
	c, err := exchange.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

type outcome struct {
	text string
	err  error
}

// start calls Do in a goroutine.
func start(c *exchange.Client[uint32], server string, key uint32, text string) <-chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		d, err := c.Do(context.Background(), server, message(key, text))
		o := outcome{err: err}
		if err == nil {
			o.text = textOf(d)
		}
		ch <- o
	}()
	return ch
}

// do calls Do, which must succeed.
func do(t testing.TB, c *exchange.Client[uint32], server string, key uint32, text string) string {
	t.Helper()
	d, err := c.Do(t.Context(), server, message(key, text))
	require.NoError(t, err)
	return textOf(d)
}

// fail calls Do, whose error must be a net.OpError.
func fail(t testing.TB, c *exchange.Client[uint32], server string, key uint32) error {
	t.Helper()
	_, err := c.Do(t.Context(), server, message(key, "x"))
	require.Error(t, err)
	require.IsType(t, &net.OpError{}, err)
	return err
}

// requireAgreement checks the sum that Stats promises.
func requireAgreement(t testing.TB, s exchange.Stats) {
	t.Helper()
	require.Equal(t, s.Requests, s.Outstanding+s.Succeeded+s.Refused+s.TimedOut+s.Canceled+s.Failed, "%+v", s)
}

// both runs a test with a shared socket and with one per request.
func both(t *testing.T, f func(t *testing.T, l lan, cfg exchange.Config[uint32])) {
	for _, each := range []bool{false, true} {
		t.Run(fmt.Sprintf("SocketPerRequest=%v", each), func(t *testing.T) {
			bubble(t, func(t *testing.T, l lan) {
				f(t, l, exchange.Config[uint32]{SocketPerRequest: each})
			})
		})
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func addrPortOf(h *udptest.Host, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(h.Addr(), port)
}
