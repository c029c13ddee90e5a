package limit_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func from(address string, size int) udp.Datagram {
	return udptest.Datagram(udptest.Header{From: netip.MustParseAddrPort(address)}, make([]byte, size))
}

// counter counts what reaches the handler behind a Limiter, by address.
type counter struct {
	udp.BaseHandler
	got     map[netip.Addr]int
	refused int
	stopped error
	started bool
	reads   int
}

func newCounter() *counter { return &counter{got: map[netip.Addr]int{}} }

func (c *counter) Started(*udp.Conn)                    { c.started = true }
func (c *counter) Received(_ *udp.Conn, d udp.Datagram) { c.got[d.From.Addr()]++ }
func (c *counter) ReadDone(*udp.Conn)                   { c.reads++ }
func (c *counter) Refused(*udp.Conn, *udp.Refusal)      { c.refused++ }
func (c *counter) Stopped(_ *udp.Conn, err error)       { c.stopped = err }
func (c *counter) take(t *testing.T, address string) (n int) {
	a := netip.MustParseAddr(address)
	n = c.got[a]
	delete(c.got, a)
	return n
}

func newLimiter(t testing.TB, cfg limit.Config, next udp.Handler) *limit.Limiter {
	t.Helper()
	l, err := limit.New(cfg, next)
	require.NoError(t, err)
	return l
}

func requireAgreement(t testing.TB, s limit.Stats) {
	t.Helper()
	require.Equal(t, s.Received, s.Admitted+s.Limited+s.Overflowed, "%+v", s)
}

func TestEachSourceHasARateOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		l := newLimiter(t, limit.Config{Rate: 10, Burst: 5}, c)
		flood := func(address string, n int) {
			for range n {
				l.Received(nil, from(address, 1))
			}
		}
		flood("192.0.2.1:1000", 20)
		flood("198.51.100.1:1000", 3)
		require.Equal(t, 5, c.take(t, "192.0.2.1"))
		require.Equal(t, 3, c.take(t, "198.51.100.1"))
		flood("192.0.2.200:1000", 1) // the same /24
		flood("192.0.3.1:1000", 1)   // another one
		require.Equal(t, 0, c.take(t, "192.0.2.200"))
		require.Equal(t, 1, c.take(t, "192.0.3.1"))
		time.Sleep(200 * time.Millisecond)
		flood("192.0.2.1:1000", 20)
		require.Equal(t, 2, c.take(t, "192.0.2.1"))

		flood("[2001:db8:0:1::1]:1000", 5)
		flood("[2001:db8:0:2::1]:1000", 1) // the same /56
		flood("[2001:db8:0:100::1]:1000", 1)
		require.Equal(t, 5, c.take(t, "2001:db8:0:1::1"))
		require.Equal(t, 0, c.take(t, "2001:db8:0:2::1"))
		require.Equal(t, 1, c.take(t, "2001:db8:0:100::1"))
		flood("[::ffff:203.0.113.1]:1", 1) // IPv4, however it is written
		flood("203.0.113.2:1", 5)
		require.Equal(t, 4, c.take(t, "203.0.113.2"))
		requireAgreement(t, l.Stats())
		require.EqualValues(t, 15+1+18+1+1, l.Stats().Limited)
	})
}

func TestAFullTableKeepsItsSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter()
		l := newLimiter(t, limit.Config{Rate: 1, Burst: 2, MaxSources: 2, OverflowRate: 1, OverflowBurst: 3}, c)
		send := func(address string) bool { return l.Allow(from(address, 1)) }
		require.True(t, send("10.0.0.1:1"))
		require.True(t, send("10.0.1.1:1"))
		for i, want := range []bool{true, true, true, false, false} { // the shared bucket
			require.Equal(t, want, send(netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()+":1"))
		}
		require.True(t, send("10.0.0.1:1")) // what has a bucket keeps it
		require.False(t, send("10.0.0.1:1"))
		s := l.Stats()
		require.EqualValues(t, 2, s.Overflowed)
		require.EqualValues(t, 1, s.Limited)
		require.EqualValues(t, 2, s.Sources)
		require.Zero(t, s.Replaced)
		requireAgreement(t, s)

		time.Sleep(3 * time.Second) // both buckets have filled up
		require.True(t, send("10.2.0.1:1"))
		require.True(t, send("10.2.0.1:1"))
		require.False(t, send("10.2.0.1:1"))
		require.EqualValues(t, 1, l.Stats().Replaced)
		require.EqualValues(t, 2, l.Stats().Sources)
	})
}

func TestCallbacksPassThrough(t *testing.T) {
	c := newCounter()
	l := newLimiter(t, limit.Config{Rate: 1, Burst: 1}, c)
	r := udptest.NewRecorder(t)
	conn := r.Start(l)
	r.Receive(from("192.0.2.1:1", 1))
	r.Receive(from("192.0.2.1:1", 1))
	r.Refuse(&udp.Refusal{Peer: netip.MustParseAddrPort("192.0.2.1:1"), Err: syscall.ECONNREFUSED})
	broken := errors.New("broken")
	r.Fail(broken)
	<-conn.Done()
	require.True(t, c.started)
	require.Equal(t, 1, c.take(t, "192.0.2.1"))
	require.Equal(t, 1, c.refused)
	require.NotZero(t, c.reads)
	newLimiter(t, limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{}).ReadDone(conn) // has no such method
	require.ErrorIs(t, c.stopped, broken)
}

// TestAReflectionAttack has requests with the addresses of victims, to a service that replies
// with as much as it may, in pieces.
func TestAReflectionAttack(t *testing.T) {
	const victims = 100
	random := rand.New(rand.NewPCG(1, 2))
	var l *limit.Limiter
	l = newLimiter(t, limit.Config{Rate: 1e6, Burst: 1e6, MaxSources: 64}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		for range 1 + random.IntN(5) {
			if err := l.Reply(d, make([]byte, random.IntN(3*len(d.Data)+2))); err != nil {
				assert.ErrorIs(t, err, limit.ErrAmplification)
				assert.IsType(t, &net.OpError{}, err)
			}
		}
	}))
	r := udptest.NewRecorder(t)
	conn := r.Start(l)
	defer func() {
		conn.Close()
		<-conn.Done()
	}()
	sent, got := map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
	for range 20_000 {
		victim := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(victims))}), 53)
		d := udptest.Datagram(udptest.Header{From: victim}, make([]byte, random.IntN(100)))
		sent[victim] += len(d.Data)
		r.Receive(d)
		for _, m := range r.Sent() {
			got[m.To] += len(m.Data)
			require.LessOrEqual(t, got[m.To], 3*sent[m.To])
		}
	}
	var total, requests int
	for victim := range sent {
		total += got[victim]
		requests += sent[victim]
	}
	s := l.Stats()
	t.Logf("%d bytes of requests, %d of replies, %+v", requests, total, s)
	require.Greater(t, total, requests) // the service is not useless
	require.EqualValues(t, total, s.RepliedBytes)
	require.NotZero(t, s.Capped)
	require.NotZero(t, s.Forgotten)
	requireAgreement(t, s)
}

func TestAValidatedAddressGetsLongReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last udp.Datagram
		l := newLimiter(t, limit.Config{Rate: 1e6, Burst: 1e6, ValidFor: time.Minute, MaxSources: 10},
			udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { last = d.Clone() }))
		r := udptest.NewRecorder(t)
		conn := r.Start(l)
		defer func() {
			conn.Close()
			<-conn.Done()
		}()
		r.Receive(from("192.0.2.1:1", 10))
		one := last
		long := make([]byte, 1000)
		require.ErrorIs(t, l.Reply(one, long), limit.ErrAmplification)
		require.NoError(t, l.Reply(one, long[:30]))
		require.ErrorIs(t, l.Reply(one, long[:1]), limit.ErrAmplification)
		l.Validate(one)
		require.NoError(t, l.Reply(one, long))
		r.Receive(from("192.0.2.1:2", 10)) // another port is another peer
		require.ErrorIs(t, l.Reply(last, long), limit.ErrAmplification)

		for i := range 1000 { // a flood of other addresses changes nothing
			r.Receive(udptest.Datagram(udptest.Header{From: netip.AddrPortFrom(
				netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}, make([]byte, 10)))
		}
		require.NoError(t, l.Reply(one, long))

		time.Sleep(50 * time.Second)
		r.Receive(from("192.0.2.1:1", 10))
		time.Sleep(50 * time.Second)
		require.NoError(t, l.Reply(one, long))
		time.Sleep(50 * time.Second)
		require.ErrorIs(t, l.Reply(one, long), limit.ErrAmplification)
		r.Receive(from("192.0.2.1:1", 10))
		require.NoError(t, l.Reply(one, long[:30]))
		require.ErrorIs(t, l.Reply(one, long[:30]), limit.ErrAmplification)
	})
}

func TestReplyToWhatWasNotReceived(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{})
	require.ErrorIs(t, l.Reply(from("192.0.2.1:1", 10), nil), limit.ErrAmplification)
	l.Validate(from("192.0.2.1:1", 10))
	require.Error(t, l.Reply(from("192.0.2.1:1", 10), nil)) // it came by no socket
	l.Allow(udp.Datagram{})
}

func TestLimitingHowFastSessionsBegin(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1, Burst: 2}, udp.BaseHandler{})
	m := session.Handler(session.Config{Accept: l.Allow}, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
	r := udptest.NewRecorder(t)
	conn := r.Start(m)
	for _, address := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:1"} {
		r.Receive(from(address, 10))
	}
	conn.Close()
	<-conn.Done()
	require.EqualValues(t, 2, m.Stats().Begun)
	require.EqualValues(t, 1, m.Stats().Rejected)
	require.EqualValues(t, 1, l.Stats().Limited)
}

// The zero Limiter admits nothing, and replies to nothing.
func TestAZeroLimiter(t *testing.T) {
	l := new(limit.Limiter)
	d := udp.Datagram{Data: []byte("x")}
	l.Started(nil)
	l.Received(nil, d)
	require.False(t, l.Allow(d))
	l.Validate(d)
	require.ErrorIs(t, l.Reply(d, []byte("x")), limit.ErrAmplification)
	l.Refused(nil, nil)
	l.ReadDone(nil)
	l.Stopped(nil, nil)
	require.Zero(t, l.Stats().Admitted)
}

func TestInvalidConfigs(t *testing.T) {
	good := limit.Config{Rate: 1, Burst: 1}
	for field, change := range map[string]func(*limit.Config){
		"Rate":          func(c *limit.Config) { c.Rate = 0 },
		"Burst":         func(c *limit.Config) { c.Burst = 0 },
		"IPv4Prefix":    func(c *limit.Config) { c.IPv4Prefix = 33 },
		"IPv6Prefix":    func(c *limit.Config) { c.IPv6Prefix = -1 },
		"OverflowRate":  func(c *limit.Config) { c.OverflowRate = -1 },
		"OverflowBurst": func(c *limit.Config) { c.OverflowBurst = -1 },
		"MaxSources":    func(c *limit.Config) { c.MaxSources = -1 },
		"Amplification": func(c *limit.Config) { c.Amplification = -1 },
		"ValidFor":      func(c *limit.Config) { c.ValidFor = -1 },
	} {
		cfg := good
		change(&cfg)
		_, err := limit.New(cfg, udp.BaseHandler{})
		var e *limit.ConfigError
		require.ErrorAs(t, err, &e, field)
		require.Equal(t, field, e.Field)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorContains(t, err, field)
	}
	for _, h := range []udp.Handler{nil, udp.HandlerFunc(nil), (*udp.Queue)(nil)} {
		_, err := limit.New(good, h)
		require.EqualError(t, err, "limit: next is nil")
	}
	// Next to never, and always.
	l := newLimiter(t, limit.Config{Rate: 1e-6, Burst: 1}, udp.BaseHandler{})
	require.True(t, l.Allow(from("192.0.2.1:1", 10)))
	require.False(t, l.Allow(from("192.0.2.1:1", 10)))
	l = newLimiter(t, limit.Config{Rate: rate.Inf, Burst: 1}, udp.BaseHandler{})
	for range 10 {
		require.True(t, l.Allow(from("192.0.2.1:1", 10)))
	}
}

func TestStatsHaveNames(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{})
	l.Allow(from("192.0.2.1:1", 10))
	got := map[string]float64{}
	for name, value := range l.Stats().All() {
		got[name] = value
	}
	require.Len(t, got, 12)
	require.EqualValues(t, 1, got["admitted"])
	for range l.Stats().All() {
		break
	}
}

func TestABucketThatFillsUpSlowlyIsKept(t *testing.T) {
	l := newLimiter(t, limit.Config{Rate: 1e-9, Burst: 2, MaxSources: 1, OverflowBurst: 1}, udp.BaseHandler{})
	require.True(t, l.Allow(from("192.0.2.1:1", 10)))
	require.True(t, l.Allow(from("198.51.100.1:1", 10))) // the shared bucket
	require.False(t, l.Allow(from("198.51.100.1:1", 10)))
	require.True(t, l.Allow(from("192.0.2.1:1", 10)))
	require.Zero(t, l.Stats().Replaced)
}
