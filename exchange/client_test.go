package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/udptest"
)

func TestDoReturnsTheResponse(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.a, echo)
		c := l.newClient(t, cfg)
		d, err := c.Do(t.Context(), serverA, message(1, "hello"))
		require.NoError(t, err)
		require.Equal(t, "hello!", textOf(d))
		require.Equal(t, addrPort(serverA), d.From)
		s := c.Stats()
		require.EqualValues(t, 1, s.Succeeded)
		require.EqualValues(t, 1, s.Sent)
		require.EqualValues(t, 1, s.Sockets)
		requireAgreement(t, s)
	})
}

func TestRequestsLeaveFromTheLocalAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Seed: 1})
		server, client := n.Host("server", "10.0.0.1"), n.Host("client", "10.0.0.3", "10.0.0.4")
		var from []string
		serve(t, server, func(c *udp.Conn, d udp.Datagram) {
			from = append(from, d.From.Addr().String())
			echo(c, d)
		})
		for _, each := range []bool{false, true} {
			cfg := exchange.Config[uint32]{SocketPerRequest: each, Socket: client.Config()}
			cfg.Socket.LocalAddr = addrPort("10.0.0.4:0")
			do(t, newClient(t, cfg), serverA, 1, "x")
		}
		require.Equal(t, []string{"10.0.0.4", "10.0.0.4"}, from)
	})
}

func TestRetransmissionsFollowTheSchedule(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.a, s.received)
		c := l.newClient(t, cfg)
		begin := time.Now()
		err := fail(t, c, serverA, 1)
		waited := time.Since(begin)
		settle()
		var timeout *exchange.TimeoutError
		require.ErrorAs(t, err, &timeout)
		require.Equal(t, 4, timeout.Sent)
		require.Equal(t, waited, timeout.Waited)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.True(t, err.(net.Error).Timeout())
		require.Contains(t, err.Error(), "no response to 4 transmissions")

		// A second, doubled, with up to half of it more (RFC 8085, section 3.1.1).
		require.Len(t, s.times, 4)
		for i, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			got := s.times[i+1] - s.times[i]
			require.GreaterOrEqual(t, got, wait)
			require.LessOrEqual(t, got, wait*3/2+time.Millisecond)
		}
		require.GreaterOrEqual(t, waited, 15*time.Second)
		require.EqualValues(t, 3, c.Stats().Retransmitted)
		require.EqualValues(t, 1, c.Stats().TimedOut)
		requireAgreement(t, c.Stats())
	})
}

func TestBackoffHasJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[exchange.Backoff(1)] = true
	}
	require.Greater(t, len(seen), 50)
	require.Positive(t, exchange.Backoff(1000))
	require.GreaterOrEqual(t, exchange.Backoff(0), time.Second)
}

func TestALostRequestAndALostResponseAreSentAgain(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.a, echo)
		l.client.Out().Set(udptest.Faults{Script: udptest.DropNth(1)})
		l.client.In().Set(udptest.Faults{Script: udptest.DropNth(1)})
		cfg.Schedule = func(int) time.Duration { return 100 * time.Millisecond }
		c := l.newClient(t, cfg)
		begin := time.Now()
		require.Equal(t, "x!", do(t, c, serverA, 1, "x"))
		require.InDelta(t, 200*time.Millisecond, time.Since(begin), float64(time.Millisecond))
		require.EqualValues(t, 2, c.Stats().Retransmitted)
	})
}

func TestARefusalFailsItsRequestAtOnceAndNoOther(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.b, s.received)
		c := l.newClient(t, cfg)
		other := start(c, serverB, 1, "other server")
		synctest.Wait()
		l.client.Out().Set(udptest.Faults{Script: udptest.DropNth(1)})
		same := start(c, "10.0.0.1:7001", 2, "waits") // lost on its way, so never refused
		synctest.Wait()
		l.client.Out().Set(udptest.Faults{})

		begin := time.Now()
		err := fail(t, c, "10.0.0.1:7001", 3)
		require.Less(t, time.Since(begin), time.Millisecond)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorIs(t, err, udp.ErrRefused)
		var r *udp.Refusal
		require.ErrorAs(t, err, &r)
		synctest.Wait()
		select {
		case o := <-other:
			t.Fatal(o)
		case o := <-same:
			t.Fatal(o)
		default:
		}
		c.Close()
		require.ErrorIs(t, (<-other).err, net.ErrClosed)
		require.ErrorIs(t, (<-same).err, net.ErrClosed)
		require.EqualValues(t, 1, c.Stats().Refused)
		requireAgreement(t, c.Stats())
	})
}

func TestFailoverTakesLessThanAMillisecond(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.b, echo) // and nobody on a
		c := l.newClient(t, cfg)
		begin := time.Now()
		var text string
		for _, server := range []string{serverA, serverB} {
			d, err := c.Do(t.Context(), server, message(1, "x"))
			if err == nil {
				text = textOf(d)
				break
			}
			require.ErrorIs(t, err, udp.ErrRefused)
		}
		require.Equal(t, "x!", text)
		require.Less(t, time.Since(begin), time.Millisecond)
	})
}

func TestARefusalThatQuotesNoPayload(t *testing.T) {
	r := udptest.NewRecorder(t)
	c := newClient(t, exchange.Config[uint32]{Socket: udp.Config{Network: r.Network()}})
	sent := make(chan outcome, 1)
	go func() { sent <- <-start(c, serverA, 1, "x") }()
	waitFor(t, func() bool { return c.Stats().Sent == 1 })

	r.Refuse(&udp.Refusal{Peer: addrPort(serverB), Err: syscall.ECONNREFUSED}) // not asked
	r.Refuse(&udp.Refusal{Peer: addrPort(serverA), Err: syscall.ECONNREFUSED, Payload: message(2, "x")})
	r.Refuse(&udp.Refusal{Peer: addrPort(serverA), Err: syscall.ECONNREFUSED, Payload: message(1, "y")})
	require.EqualValues(t, 3, c.Stats().StrayRefusals)
	r.Refuse(&udp.Refusal{Peer: addrPort(serverA), Err: syscall.EMSGSIZE, MTU: 1280, Payload: message(1, "x")})
	require.Empty(t, sent)
	r.Refuse(&udp.Refusal{Peer: addrPort(serverA), Err: syscall.ECONNREFUSED})
	require.ErrorIs(t, (<-sent).err, syscall.ECONNREFUSED)

	// With two that it may be about, it is about neither.
	one, two := start(c, serverA, 1, "x"), start(c, serverA, 2, "x")
	waitFor(t, func() bool { return c.Stats().Sent == 3 })
	r.Refuse(&udp.Refusal{Peer: addrPort(serverA), Err: syscall.ECONNREFUSED})
	require.EqualValues(t, 4, c.Stats().StrayRefusals)
	c.Close()
	require.ErrorIs(t, (<-one).err, net.ErrClosed)
	require.ErrorIs(t, (<-two).err, net.ErrClosed)
}

// waitFor waits in real time for what another goroutine does at once.
func waitFor(t testing.TB, f func() bool) {
	t.Helper()
	require.Eventually(t, f, time.Minute, 100*time.Microsecond)
}

func TestResponsesThatAreNone(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		server := serve(t, l.a, func(_ *udp.Conn, d udp.Datagram) {
			switch string(d.Data[4:]) {
			case "twice":
				d.Reply(append(d.Data, '!'))
				d.Reply(append(d.Data, '?'))
			case "late":
				reply := d.Clone()
				time.AfterFunc(10*time.Second, func() { reply.Reply(reply.Data) })
			case "other key":
				d.Reply(message(77, "x"))
				d.Reply([]byte("x"))
				d.Reply(append(d.Data, '!'))
			}
		})
		_ = server
		forger := serve(t, l.b, func(*udp.Conn, udp.Datagram) {})
		c := l.newClient(t, exchange.Config[uint32]{Attempts: 1})

		require.Equal(t, "twice!", do(t, c, serverA, 1, "twice"))
		settle()
		require.EqualValues(t, 1, c.Stats().Late)

		require.Error(t, (<-start(c, serverA, 2, "late")).err)
		time.Sleep(10 * time.Second)
		settle()
		require.EqualValues(t, 2, c.Stats().Late)

		require.Equal(t, "other key!", do(t, c, serverA, 3, "other key"))
		require.EqualValues(t, 1, c.Stats().Unknown)
		require.EqualValues(t, 1, c.Stats().Malformed)

		// Another host responds, with the right key, to the right port.
		var port uint16
		stop := l.client.Out().Tap(func(f udptest.Frame) { port = uint16(f.IP[20])<<8 | uint16(f.IP[21]) })
		waiting := start(c, serverA, 4, "no response")
		synctest.Wait()
		stop()
		require.NotZero(t, port)
		require.NoError(t, forger.SendTo(message(4, "forged"), addrPortOf(l.client, port)))
		settle()
		require.EqualValues(t, 1, c.Stats().Spoofed)
		require.Error(t, (<-waiting).err)
		requireAgreement(t, c.Stats())
	})
}

func TestAForgedResponseToASocketOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		forger := serve(t, l.b, func(*udp.Conn, udp.Datagram) {})
		serve(t, l.a, func(c *udp.Conn, d udp.Datagram) {
			forger.SendTo(message(1, "forged"), d.From)
			reply := d.Clone()
			time.AfterFunc(10*time.Millisecond, func() { reply.Reply(message(1, "real")) })
		})
		c := l.newClient(t, exchange.Config[uint32]{SocketPerRequest: true})
		require.Equal(t, "real", do(t, c, serverA, 1, "x"))
	})
}

func TestMatchRejectsResponses(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.a, func(_ *udp.Conn, d udp.Datagram) {
			d.Reply(append(d.Data, "wrong"...))
			d.Reply(append(d.Data, "right"...))
		})
		cfg.Match = func(request, response []byte) bool {
			return bytes.HasPrefix(response, request) && bytes.HasSuffix(response, []byte("right"))
		}
		c := l.newClient(t, cfg)
		require.Equal(t, "x right", do(t, c, serverA, 1, "x "))
		require.EqualValues(t, 1, c.Stats().Spoofed)
	})
}

func TestTheContextEndsARequest(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.a, s.received)
		c := l.newClient(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := c.Do(ctx, serverA, message(1, "x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, err.(net.Error).Timeout())
		require.Equal(t, 300*time.Millisecond, time.Since(begin))

		cause := errors.New("enough")
		ctx2, cancel2 := context.WithCancelCause(t.Context())
		cancel2(cause)
		_, err = c.Do(ctx2, serverA, message(1, "x"))
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, context.Canceled)
		ctx3, cancel3 := context.WithTimeoutCause(t.Context(), time.Millisecond, cause)
		defer cancel3()
		_, err = c.Do(ctx3, serverA, message(1, "x"))
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, err.(net.Error).Timeout())
		require.EqualValues(t, 3, c.Stats().Canceled)
		requireAgreement(t, c.Stats())
	})
}

func TestOneKeyAtATimeForEachServer(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		var s silent
		serve(t, l.a, s.received)
		serve(t, l.b, echo)
		c := l.newClient(t, exchange.Config[uint32]{Attempts: 1})
		waiting := start(c, serverA, 1, "x")
		synctest.Wait()
		require.ErrorIs(t, fail(t, c, serverA, 1), exchange.ErrDuplicate)
		require.Equal(t, "y!", do(t, c, serverB, 1, "y")) // the same key, another server
		require.Error(t, (<-waiting).err)
		require.ErrorIs(t, fail(t, c, serverA, 1), os.ErrDeadlineExceeded) // used again after its end
		require.EqualValues(t, 1, c.Stats().Failed)
		requireAgreement(t, c.Stats())
	})
}

func TestTooManyRequests(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.a, s.received)
		cfg.MaxOutstanding, cfg.Attempts = 2, 1
		c := l.newClient(t, cfg)
		one, two := start(c, serverA, 1, "x"), start(c, serverA, 2, "x")
		synctest.Wait()
		require.EqualValues(t, 2, c.Stats().Outstanding)
		require.ErrorIs(t, fail(t, c, serverA, 3), exchange.ErrTooMany)
		require.ErrorIs(t, (<-one).err, os.ErrDeadlineExceeded)
		require.ErrorIs(t, (<-two).err, os.ErrDeadlineExceeded)
		require.ErrorIs(t, fail(t, c, serverA, 3), os.ErrDeadlineExceeded)
	})
}

func TestClose(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.a, s.received)
		c := l.newClient(t, cfg)
		waiting := start(c, serverA, 1, "x")
		synctest.Wait()
		require.NoError(t, c.Close())
		require.ErrorIs(t, (<-waiting).err, net.ErrClosed)
		require.ErrorIs(t, fail(t, c, serverA, 1), net.ErrClosed)
		require.NoError(t, c.Close())
		requireAgreement(t, c.Stats())
	})
}

func TestTheTokenBucketBoundsRetransmissions(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		var s silent
		serve(t, l.a, s.received)
		cfg.RetransmitRate, cfg.RetransmitBurst = 1, 10
		c := l.newClient(t, cfg)
		var all []<-chan outcome
		for i := range uint32(100) {
			all = append(all, start(c, serverA, i, "x"))
		}
		for _, o := range all {
			require.ErrorIs(t, (<-o).err, os.ErrDeadlineExceeded)
		}
		st := c.Stats()
		require.EqualValues(t, 100+st.Retransmitted, st.Sent)
		require.LessOrEqual(t, st.Retransmitted, uint64(10+23)) // in at most 22.5 s
		require.GreaterOrEqual(t, st.Retransmitted, uint64(10))
		require.EqualValues(t, 300, st.Retransmitted+st.Suppressed)
		requireAgreement(t, st)
	})
}

func TestABrokenSocketIsReplaced(t *testing.T) {
	r := udptest.NewRecorder(t)
	c := newClient(t, exchange.Config[uint32]{Socket: udp.Config{Network: r.Network()}})
	waiting := start(c, serverA, 1, "x")
	waitFor(t, func() bool { return c.Stats().Sent == 1 })
	r.Fail(errors.New("broken"))
	// The request leaves by the new socket at once, and its response is one.
	waitFor(t, func() bool { return c.Stats().Sent == 2 })
	r.Receive(udptest.Datagram(udptest.Header{From: addrPort(serverA)}, message(1, "still")))
	require.Equal(t, "still", (<-waiting).text)
	require.EqualValues(t, 1, c.Stats().Replaced)
	require.EqualValues(t, 2, c.Stats().Sockets)

	// One that breaks each time does not keep a request for ever.
	waiting = start(c, serverA, 2, "x")
	for i := range uint64(4) {
		waitFor(t, func() bool { return c.Stats().Sent == 3+i })
		r.Fail(errors.New("broken again"))
	}
	require.ErrorContains(t, (<-waiting).err, "broken again")
	requireAgreement(t, c.Stats())
}

func TestNamesAreResolvedAgainAfterAFailure(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.b, echo)
		c := l.newClient(t, cfg)
		addrs, fails := []netip.AddrPort{addrPort(serverA)}, error(nil)
		asked := 0
		c.SetResolver(func(context.Context, string) ([]netip.AddrPort, error) {
			asked++
			return addrs, fails
		})
		require.ErrorIs(t, fail(t, c, "server:7000", 1), udp.ErrRefused)
		addrs = []netip.AddrPort{addrPort(serverB)}
		require.ErrorIs(t, fail(t, c, "server:7000", 1), udp.ErrRefused) // not yet: the resolver was just asked
		require.Equal(t, 1, asked)
		time.Sleep(2 * time.Second)
		require.Equal(t, "x!", do(t, c, "server:7000", 1, "x"))
		require.Equal(t, "x!", do(t, c, "server:7000", 1, "x"))
		require.Equal(t, 2, asked)
	})
}

func TestANameWithTwoAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		serve(t, l.b, echo)
		l.net.AddName("servers", "10.0.0.1", "10.0.0.2")
		c := l.newClient(t, exchange.Config[uint32]{})
		require.ErrorIs(t, fail(t, c, "servers:7000", 1), udp.ErrRefused)
		for i := range uint32(3) { // without asking the resolver again at once
			require.Equal(t, "x!", do(t, c, "servers:7000", i, "x"))
			require.EqualValues(t, 1, c.Stats().Resolved)
		}
		time.Sleep(time.Minute)
		require.Equal(t, "x!", do(t, c, "servers:7000", 1, "x"))
		require.EqualValues(t, 2, c.Stats().Resolved) // but then, and the other address stays
		require.Equal(t, "x!", do(t, c, "servers:7000", 1, "x"))
		require.EqualValues(t, 2, c.Stats().Resolved)
	})
}

// A canceled request is no failure of its server, whatever the cause.
func TestACanceledRequestKeepsTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		var s silent
		serve(t, l.a, s.received)
		serve(t, l.b, echo)
		l.net.AddName("servers", "10.0.0.1", "10.0.0.2")
		c := l.newClient(t, exchange.Config[uint32]{})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(errors.New("another goroutine of the group has failed")) })
		_, err := c.Do(ctx, "servers:7000", message(1, "x"))
		require.ErrorIs(t, err, context.Canceled)
		_, err = c.Do(t.Context(), "servers:7000", message(2, "x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the same address, which does not respond")
	})
}

func TestOldAddressesAreKeptWhenAResolverFails(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		c := l.newClient(t, exchange.Config[uint32]{})
		broken, slow := errors.New("no resolver"), false
		c.SetResolver(func(ctx context.Context, _ string) ([]netip.AddrPort, error) {
			if slow {
				<-ctx.Done()
			}
			if broken != nil {
				return nil, broken
			}
			return []netip.AddrPort{addrPort(serverA)}, nil
		})
		require.ErrorIs(t, fail(t, c, "server:7000", 1), broken)
		broken = nil
		require.ErrorIs(t, fail(t, c, "server:7000", 1), udp.ErrRefused)
		serve(t, l.a, echo)
		broken = errors.New("no resolver again")
		time.Sleep(2 * time.Second)
		require.Equal(t, "x!", do(t, c, "server:7000", 1, "x"))
		slow = true // one that does not come back delays a request, and no more
		time.Sleep(2 * time.Second)
		begin := time.Now()
		require.Equal(t, "x!", do(t, c, "server:7000", 1, "x"))
		require.Less(t, time.Since(begin), 3*time.Second)
	})
}

func TestAContextEndsAResolution(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		c := l.newClient(t, exchange.Config[uint32]{})
		c.SetResolver(func(ctx context.Context, _ string) ([]netip.AddrPort, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, "server:7000", message(1, "x"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		waiting := start(c, "server:7000", 1, "x")
		synctest.Wait()
		c.Close()
		require.ErrorIs(t, (<-waiting).err, net.ErrClosed)
	})
}

func TestInvalidServersAndRequests(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		c := l.newClient(t, cfg)
		for server, text := range map[string]string{
			"nobody.example:7000": "nobody.example",
			"10.0.0.1":            "missing port",
			"10.0.0.1:0":          "missing port",
			"224.0.0.251:5353":    "multicast",
		} {
			require.ErrorContains(t, fail(t, c, server, 1), text, server)
		}
		_, err := c.Do(t.Context(), serverA, []byte("x"))
		require.ErrorIs(t, err, exchange.ErrNoKey)
		_, err = c.Do(t.Context(), serverA, message(1, strings.Repeat("x", 70_000)))
		require.ErrorIs(t, err, udp.ErrTooLarge)
		require.EqualValues(t, 6, c.Stats().Failed)
		requireAgreement(t, c.Stats())
	})
}

func TestAZeroClient(t *testing.T) {
	for _, c := range []*exchange.Client[uint32]{nil, {}} {
		_, err := c.Do(t.Context(), serverA, message(1, "x"))
		var e *exchange.ConfigError
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorIs(t, c.Close(), os.ErrInvalid)
	}
}

// A program may recover from a panic of its functions, as net/http does for its handlers.
func TestAPanicEndsItsRequest(t *testing.T) {
	both(t, func(t *testing.T, l lan, cfg exchange.Config[uint32]) {
		serve(t, l.a, echo)
		broken := true
		cfg.Schedule = func(int) time.Duration {
			if broken {
				panic("no schedule")
			}
			return time.Second
		}
		c := l.newClient(t, cfg)
		require.PanicsWithValue(t, "no schedule", func() { _, _ = c.Do(t.Context(), serverA, message(1, "x")) })
		require.Zero(t, c.Stats().Outstanding)
		require.EqualValues(t, 1, c.Stats().Failed)
		broken = false
		do(t, c, serverA, 1, "x") // the key is free
		requireAgreement(t, c.Stats())
	})
}

func TestInvalidConfigs(t *testing.T) {
	for field, cfg := range map[string]exchange.Config[uint32]{
		"Key":             {},
		"Attempts":        {Key: keyOf, Attempts: -1},
		"RetransmitRate":  {Key: keyOf, RetransmitRate: -1},
		"RetransmitBurst": {Key: keyOf, RetransmitBurst: -1},
		"MaxOutstanding":  {Key: keyOf, MaxOutstanding: -1},
		"Network":         {Key: keyOf, Network: "tcp"},
	} {
		_, err := exchange.New(cfg)
		var e *exchange.ConfigError
		require.ErrorAs(t, err, &e, field)
		require.Equal(t, field, e.Field)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorContains(t, err, field)
	}
}

func TestStatsHaveNames(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		serve(t, l.a, echo)
		c := l.newClient(t, exchange.Config[uint32]{})
		do(t, c, serverA, 1, "x")
		got := map[string]float64{}
		for name, value := range c.Stats().All() {
			got[name] = value
		}
		require.Len(t, got, 20)
		require.EqualValues(t, 1, got["requests"])
		require.EqualValues(t, 1, got["succeeded"])
		for range c.Stats().All() {
			break
		}
	})
}
