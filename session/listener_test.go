package session_test

import (
	"errors"
	"math"
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
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// bubble runs a test in virtual time, on a simulated network.
func bubble(t *testing.T, f func(t *testing.T, l lan)) {
	synctest.Test(t, func(t *testing.T) { f(t, newLAN(t)) })
}

// settle waits in virtual time until everything that was sent has arrived and was handled.
func settle() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

func TestASessionIsANetConn(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		a, b := l.dial(t), l.dialTo(t, "10.0.0.9:7000")
		a.send(t, "one")
		settle()
		b.send(t, "two")
		sa, sb := accept(t, ln), accept(t, ln)
		require.Equal(t, "one", read(t, sa))
		require.Equal(t, "two", read(t, sb))
		write(t, sa, "to a")
		write(t, sb, "to b")
		require.Equal(t, "to a", a.receive(t))
		require.Equal(t, "to b", b.receive(t)) // a connected socket: the source is the address it asked

		require.Equal(t, a.LocalAddr(), sa.RemoteAddr())
		require.Equal(t, "10.0.0.1:7000", sa.LocalAddr().String())
		require.Equal(t, "10.0.0.9:7000", sb.LocalAddr().String())
		require.Equal(t, a.LocalAddrPort(), sa.Session().Addr())
		require.Same(t, ln.Conn(), sa.Session().Conn())
		settle()
		requireAgreement(t, ln.Stats())
		require.EqualValues(t, 2, ln.Stats().Accepted)
	})
}

func TestTheLocalAddressFollowsThePeer(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		q := udp.NewQueue(8, udp.Block)
		c, err := udp.Config{Network: l.client.Network()}.Listen(t.Context(), "udp", ":0", q)
		require.NoError(t, err)
		defer end(c)
		for _, to := range []string{"10.0.0.1:7000", "10.0.0.9:7000"} {
			addrs, err := udp.Resolve(t.Context(), "udp", to)
			require.NoError(t, err)
			require.NoError(t, c.SendTo([]byte("x"), addrs[0]))
			settle()
		}
		s := accept(t, ln)
		require.Equal(t, "10.0.0.9:7000", s.LocalAddr().String())
		write(t, s, "y")
		require.Equal(t, "10.0.0.9:7000", (<-q.Datagrams()).From.String())
	})
}

func TestReadOfEmptyAndLongDatagrams(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		a := l.dial(t)
		for _, text := range []string{"", "long one", "last"} {
			a.send(t, text)
			settle()
		}
		s := accept(t, ln)
		require.Equal(t, "", read(t, s))
		b := make([]byte, 4)
		n, err := s.Read(b)
		require.NoError(t, err)
		require.Equal(t, "long", string(b[:n]))
		require.Equal(t, "last", read(t, s))
		require.EqualValues(t, 1, ln.Stats().Cut)
	})
}

func TestReadBufferBoundsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{ReadBuffer: 100})
		a := l.dial(t)
		long := strings.Repeat("x", 1000) // an empty buffer takes one of any size
		for _, text := range []string{long, "lost"} {
			a.send(t, text)
			settle()
		}
		s := accept(t, ln)
		require.Equal(t, long, read(t, s))
		for range 12 {
			a.send(t, "ten bytes.")
		}
		settle()
		require.EqualValues(t, 1+4, ln.Stats().BufferFull) // 8 of 12 bytes each fit
		for range 8 {
			require.Equal(t, "ten bytes.", read(t, s))
		}
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestARefusalFailsOneRead(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		for _, h := range []*udptest.Host{l.server, l.client} {
			h.Out().Set(udptest.Faults{Latency: 10 * time.Millisecond})
		}
		ln := l.listen(t, session.Config{})
		a, b := l.dial(t), l.dial(t)
		a.send(t, "a")
		time.Sleep(time.Millisecond)
		b.send(t, "b")
		sa, sb := accept(t, ln), accept(t, ln)
		read(t, sa)
		read(t, sb)
		end(a.Conn)
		begin := time.Now()
		write(t, sa, "anybody there?")
		write(t, sb, "and you?")
		err := readError(t, sa)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorIs(t, err, udp.ErrRefused)
		require.Less(t, time.Since(begin), 21*time.Millisecond) // a round trip
		require.Equal(t, "and you?", b.receive(t))

		// Neither session has ended.
		b.send(t, "yes")
		require.Equal(t, "yes", read(t, sb))
		sa.SetReadDeadline(time.Now().Add(time.Second))
		require.ErrorIs(t, readError(t, sa), os.ErrDeadlineExceeded)
		require.EqualValues(t, 1, ln.Stats().Refused)
	})
}

func TestIdleSessionsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{IdleTimeout: 10 * time.Second})
		a, b := l.dial(t), l.dial(t)
		a.send(t, "a")
		settle()
		b.send(t, "b")
		sa, sb := accept(t, ln), accept(t, ln)
		read(t, sb)
		go func() {
			for range 5 { // what is sent to the peer does not keep the session
				time.Sleep(5 * time.Second)
				b.Send([]byte("still here"))
				sa.Write([]byte("hello?"))
			}
		}()
		time.Sleep(11 * time.Second)
		settle()
		require.EqualValues(t, 1, ln.Stats().Idle)
		require.Equal(t, "a", read(t, sa), "what has arrived can still be read")
		require.ErrorIs(t, readError(t, sa), session.ErrIdle)
		_, err := sa.Write([]byte("x"))
		require.ErrorIs(t, err, session.ErrIdle)

		begin := time.Now()
		for range 5 {
			require.Equal(t, "still here", read(t, sb))
		}
		require.ErrorIs(t, readError(t, sb), session.ErrIdle)
		require.InDelta(t, (14+10)*time.Second, time.Since(begin), float64(10*time.Millisecond))
		settle()
		requireAgreement(t, ln.Stats())
		require.Zero(t, ln.Stats().Active)
		require.NoError(t, sa.Close())
	})
}

// The longest timeout means never.
func TestTheLongestIdleTimeoutEndsNoSession(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{IdleTimeout: math.MaxInt64})
		one, two := l.dial(t), l.dial(t)
		one.send(t, "a")
		kept := accept(t, ln)
		time.Sleep(time.Second)
		two.send(t, "b")
		require.NoError(t, accept(t, ln).Close()) // looks for idle sessions, too
		settle()
		require.Equal(t, "a", read(t, kept))
		one.send(t, "c")
		require.Equal(t, "c", read(t, kept))
		require.EqualValues(t, 1, ln.Stats().Active)
	})
}

func TestAFullTableEvictsUnconfirmedSessionsOnly(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{MaxSessions: 3})
		a, b, c := l.dial(t), l.dial(t), l.dial(t)
		var ss []*session.Conn
		for _, p := range []peer{a, b, c} {
			p.send(t, "hello")
			ss = append(ss, accept(t, ln))
			read(t, ss[len(ss)-1])
		}
		write(t, ss[0], "x") // a, the oldest, is confirmed by a round trip
		a.receive(t)
		a.send(t, "y")
		read(t, ss[0])
		b.send(t, "once more") // not confirmed, but younger than c
		read(t, ss[1])

		l.dial(t).send(t, "a new peer")
		d := accept(t, ln)
		require.ErrorIs(t, readError(t, ss[2]), session.ErrEvicted)
		require.EqualValues(t, 1, ln.Stats().Evicted)

		write(t, ss[1], "x") // now b is confirmed too, and d is not
		b.receive(t)
		b.send(t, "y")
		read(t, ss[1])
		l.dial(t).send(t, "one more")
		accept(t, ln)
		require.Equal(t, "a new peer", read(t, d))
		require.ErrorIs(t, readError(t, d), session.ErrEvicted)
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestATableOfConfirmedSessionsTurnsNewPeersAway(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{MaxSessions: 1})
		a := l.dial(t)
		a.send(t, "1")
		s := accept(t, ln)
		read(t, s)
		write(t, s, "2")
		a.receive(t)
		a.send(t, "3")
		require.Equal(t, "3", read(t, s))
		l.dial(t).send(t, "no room")
		settle()
		require.EqualValues(t, 1, ln.Stats().Full)
		a.send(t, "4")
		require.Equal(t, "4", read(t, s))
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestAFullBacklogTurnsNewPeersAway(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{Backlog: 2})
		var ps []peer
		for range 3 {
			ps = append(ps, l.dial(t))
			ps[len(ps)-1].send(t, "x")
			settle()
		}
		s := ln.Stats()
		require.EqualValues(t, 1, s.BacklogFull)
		require.EqualValues(t, 2, s.Waiting)
		accept(t, ln)
		ps[2].send(t, "again")
		accept(t, ln)
		require.Equal(t, "again", read(t, accept(t, ln)))
		require.Zero(t, ln.Stats().Waiting)
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestTheFilterRunsBeforeThereIsASession(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{Accept: func(d udp.Datagram) bool {
			if string(d.Data) == "token" {
				return true
			}
			d.Reply([]byte("your token is token"))
			return false
		}})
		a := l.dial(t)
		a.send(t, "hello")
		require.Equal(t, "your token is token", a.receive(t))
		require.Zero(t, ln.Stats().Begun)
		a.send(t, "token")
		a.send(t, "what else")
		s := accept(t, ln)
		require.Equal(t, "token", read(t, s))
		require.Equal(t, "what else", read(t, s))
		require.EqualValues(t, 1, ln.Stats().Rejected)
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestClosingTheListenerKeepsAcceptedSessions(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		a, b, c := l.dial(t), l.dial(t), l.dial(t)
		a.send(t, "accepted")
		s := accept(t, ln)
		b.send(t, "accepted and then silent")
		accept(t, ln)
		c.send(t, "waits in the backlog")
		settle()
		require.NoError(t, ln.Close())
		require.ErrorIs(t, ln.Close(), net.ErrClosed)
		_, err := ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.EqualValues(t, 1, ln.Stats().Closed)
		require.Zero(t, ln.Stats().Waiting)

		c.send(t, "nobody there") // the port is still open, so there is no refusal
		settle()
		require.EqualValues(t, 1, ln.Stats().NotListening)

		require.Equal(t, "accepted", read(t, s))
		write(t, s, "goes on")
		require.Equal(t, "goes on", a.receive(t))
		a.send(t, "indeed")
		require.Equal(t, "indeed", read(t, s))
		require.NoError(t, s.Close())
		select {
		case <-ln.Conn().Done():
			t.Fatal("the socket closed before its last session")
		default:
		}
		time.Sleep(session.DefaultIdleTimeout + time.Second) // ends the other one
		<-ln.Conn().Done()
		requireAgreement(t, ln.Stats())
		require.EqualValues(t, 1, ln.Stats().Idle)
	})
}

func TestClosingAnIdleListenerClosesTheSocket(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		waits := make(chan error)
		go func() {
			_, err := ln.Accept()
			waits <- err
		}()
		settle()
		require.NoError(t, ln.Close())
		require.ErrorIs(t, <-waits, net.ErrClosed)
		<-ln.Conn().Done()
	})
}

func TestClosingTheSocketEndsAllSessions(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		l.dial(t).send(t, "a")
		s := accept(t, ln)
		read(t, s)
		l.dial(t).send(t, "not accepted")
		settle()
		failed := make(chan error)
		go func() {
			_, err := s.Read(nil)
			failed <- err
		}()
		settle()
		end(ln.Conn())
		require.ErrorIs(t, <-failed, net.ErrClosed)
		_, err := s.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.EqualValues(t, 2, ln.Stats().Failed)
		settle()
		requireAgreement(t, ln.Stats())
	})
}

func TestAFailingSocketReportsWhyToItsSessions(t *testing.T) {
	r := udptest.NewRecorder(t)
	ln, err := session.Config{Socket: udp.Config{Network: r.Network()}}.Listen(background, "udp", ":0")
	require.NoError(t, err)
	r.Receive(from(1, "x"))
	s := accept(t, ln)
	read(t, s)
	broken := errors.New("broken")
	r.Fail(broken)
	<-ln.Conn().Done()
	require.ErrorIs(t, readError(t, s), broken)
	_, err = ln.Accept()
	require.ErrorIs(t, err, broken)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Close(), net.ErrClosed)
}

func TestAClosedSession(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{})
		a := l.dial(t)
		a.send(t, "a")
		s := accept(t, ln)
		require.NoError(t, s.Close())
		for name, err := range map[string]error{
			"close": s.Close(),
			"read":  readError(t, s),
			"write": func() error { _, err := s.Write(nil); return err }(),
			"set":   s.SetDeadline(time.Now()),
		} {
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.Contains(t, err.Error(), name)
		}
		require.ErrorIs(t, s.Session().Send(nil), net.ErrClosed)
		s.Session().End() // does nothing
		a.send(t, "a new session")
		require.Equal(t, "a new session", read(t, accept(t, ln)))
		settle()
		requireAgreement(t, ln.Stats())
		require.EqualValues(t, 1, ln.Stats().Closed)
	})
}

func TestDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		ln := l.listen(t, session.Config{IdleTimeout: time.Hour})
		a := l.dial(t)
		a.send(t, "a")
		s := accept(t, ln)

		require.NoError(t, s.SetReadDeadline(time.Now())) // passed: not even what has arrived
		err := readError(t, s)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.True(t, err.(net.Error).Timeout())
		require.NoError(t, s.SetReadDeadline(time.Time{}))
		require.Equal(t, "a", read(t, s))

		begin := time.Now()
		require.NoError(t, s.SetDeadline(begin.Add(time.Minute)))
		require.ErrorIs(t, readError(t, s), os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begin))
		_, err = s.Write([]byte("x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		// A deadline set later counts for a Read that waits, and so does its absence.
		require.NoError(t, s.SetDeadline(time.Now().Add(time.Minute)))
		begin = time.Now()
		go func() {
			time.Sleep(time.Second)
			s.SetReadDeadline(time.Time{})
			time.Sleep(3 * time.Minute)
			s.SetReadDeadline(time.Now().Add(-time.Second))
		}()
		require.ErrorIs(t, readError(t, s), os.ErrDeadlineExceeded)
		require.Equal(t, 3*time.Minute+time.Second, time.Since(begin))
	})
}

// A zero value says who makes them, and waits for nothing.
func TestZeroValues(t *testing.T) {
	check := func(err error) {
		t.Helper()
		var e *session.ConfigError
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorContains(t, err, "must be created by")
	}
	for _, l := range []*session.Listener{nil, {}} {
		_, err := l.Accept()
		check(err)
		check(l.Close())
	}
	require.Zero(t, new(session.Listener).Stats())
	for _, c := range []*session.Conn{nil, {}} {
		_, err := c.Read(make([]byte, 1))
		check(err)
		_, err = c.Write([]byte("x"))
		check(err)
		check(c.SetDeadline(time.Now()))
		check(c.SetWriteDeadline(time.Now()))
		check(c.Close())
		require.Nil(t, c.LocalAddr())
		require.Nil(t, c.RemoteAddr())
	}
	p := new(session.Peer)
	check(p.Send([]byte("x")))
	p.End()
	require.Nil(t, p.Conn())
	require.False(t, p.LocalAddr().IsValid())
	require.Equal(t, udp.Message{Data: []byte("x")}, p.Message([]byte("x")))
}

// A nil pointer or function is as little of a handler as nil is.
func TestABeginThatReturnsATypedNil(t *testing.T) {
	for _, h := range []udp.Handler{nil, (*udp.Queue)(nil), udp.HandlerFunc(nil)} {
		m := session.Handler(session.Config{}, func(*session.Peer) udp.Handler { return h })
		m.Started(nil)
		m.Received(nil, udp.Datagram{Data: []byte("x"), From: netip.MustParseAddrPort("192.0.2.1:5")})
		require.EqualValues(t, 1, m.Stats().Rejected)
		require.Zero(t, m.Stats().Active)
		m.Stopped(nil, nil)
	}
}

func TestInvalidConfigs(t *testing.T) {
	for field, cfg := range map[string]session.Config{
		"IdleTimeout": {IdleTimeout: -1},
		"MaxSessions": {MaxSessions: -1},
		"Backlog":     {Backlog: -1},
		"ReadBuffer":  {ReadBuffer: -1},
	} {
		_, err := cfg.Listen(background, "udp", "127.0.0.1:0")
		var e *session.ConfigError
		require.ErrorAs(t, err, &e, field)
		require.Equal(t, field, e.Field)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.PanicsWithError(t, "session: "+field+" is negative", func() {
			session.Handler(cfg, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
		})
	}
	require.PanicsWithError(t, "session: begin is nil", func() { session.Handler(session.Config{}, nil) })
	_, err := session.Listen(background, "udp", "no port")
	require.Error(t, err)
}
