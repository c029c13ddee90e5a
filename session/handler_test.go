package session_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// In virtual time the clock stands still, as Windows' does for milliseconds.
func TestTheCallsForEachSession(t *testing.T) {
	synctest.Test(t, testTheCallsForEachSession)
}

func testTheCallsForEachSession(t *testing.T) {
	var calls calls
	m := session.Handler(session.Config{MaxSessions: 2}, func(p *session.Peer) udp.Handler {
		l := log{name: p.Addr().Addr().String(), calls: &calls}
		l.do = func(_ *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "bye" {
				p.End()
				p.End()
			}
		}
		return l
	})
	r, c := recorded(t, m)
	r.Receive(from(1, "a"))
	r.Receive(from(2, "b"))
	r.Refuse(&udp.Refusal{Peer: address(1), Err: syscall.ECONNREFUSED})
	r.Refuse(&udp.Refusal{Peer: address(7), Err: syscall.ECONNREFUSED})
	r.Receive(from(1, "c"))
	r.Receive(from(3, "d")) // in the place of 2, which was silent for longer
	r.Receive(from(1, "bye"))
	r.Receive(from(1, "e"))
	end(c)
	require.Equal(t, []string{
		"10.0.0.1 started",
		"10.0.0.1 received a",
		"10.0.0.2 started",
		"10.0.0.2 received b",
		"10.0.0.1 refused connection refused",
		"10.0.0.1 received c",
		"10.0.0.2 stopped " + session.ErrEvicted.Error(),
		"10.0.0.3 started",
		"10.0.0.3 received d",
		"10.0.0.1 received bye",
		"10.0.0.1 stopped <nil>",
		"10.0.0.1 started",
		"10.0.0.1 received e",
		"10.0.0.3 stopped <nil>",
		"10.0.0.1 stopped <nil>",
	}, calls.take())
	s := m.Stats()
	requireAgreement(t, s)
	require.EqualValues(t, 1, s.StrayRefusals)
	require.EqualValues(t, 1, s.Refused)
	require.Zero(t, s.Active)
}

func TestSendingToAPeer(t *testing.T) {
	var p *session.Peer
	m := session.Handler(session.Config{}, func(q *session.Peer) udp.Handler {
		p = q
		return udp.BaseHandler{}
	})
	r, c := recorded(t, m)
	r.Receive(from(1, "a"))
	require.NoError(t, p.Send([]byte("b")))
	sent := r.Sent()
	require.Len(t, sent, 1)
	require.Equal(t, "b", string(sent[0].Data))
	require.Equal(t, address(1), sent[0].To)
	require.Equal(t, address(1), p.Addr())
	require.Same(t, c, p.Conn())
	require.Equal(t, "192.0.2.1:5000", p.LocalAddr().String())
	require.Equal(t, address(1), p.Message([]byte("c")).To)
	end(c)
	require.ErrorIs(t, p.Send([]byte("b")), net.ErrClosed)
}

func TestMessagesLeaveFromTheAskedAddress(t *testing.T) {
	bubble(t, func(t *testing.T, l lan) {
		var p *session.Peer
		m := session.Handler(session.Config{}, func(q *session.Peer) udp.Handler {
			p = q
			return udp.BaseHandler{}
		})
		c, err := udp.Config{Network: l.server.Network()}.Listen(t.Context(), "udp", ":7000", m)
		require.NoError(t, err)
		defer end(c)
		a := l.dialTo(t, "10.0.0.9:7000")
		a.send(t, "x")
		settle()
		n, err := c.SendBatch([]udp.Message{p.Message([]byte("tick"))})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, "tick", a.receive(t))
	})
}

func TestEndFromAnotherGoroutineStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls calls
		var p *session.Peer
		m := session.Handler(session.Config{}, func(q *session.Peer) udp.Handler {
			p = q
			return log{name: "p", calls: &calls}
		})
		r, _ := recorded(t, m)
		r.Receive(from(1, "a"))
		p.End()
		synctest.Wait() // nothing else arrives
		require.Equal(t, []string{"p started", "p received a", "p stopped <nil>"}, calls.take())
		requireAgreement(t, m.Stats())
	})
}

func TestIdleSessionsStopWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls calls
		m := session.Handler(session.Config{IdleTimeout: time.Second}, func(p *session.Peer) udp.Handler {
			return log{name: p.Addr().Addr().String(), calls: &calls}
		})
		r, _ := recorded(t, m)
		r.Receive(from(1, "a"))
		time.Sleep(600 * time.Millisecond)
		r.Receive(from(2, "b"))
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		require.Contains(t, calls.take(), "10.0.0.1 stopped "+session.ErrIdle.Error())
		r.Receive(from(2, "c"))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, []string{"10.0.0.2 received c", "10.0.0.2 stopped " + session.ErrIdle.Error()}, calls.take())
		require.EqualValues(t, 2, m.Stats().Idle)
		requireAgreement(t, m.Stats())
	})
}

func TestNoSessionBegins(t *testing.T) {
	for name, begin := range map[string]func(p *session.Peer) udp.Handler{
		"nil handler": func(*session.Peer) udp.Handler { return nil },
		"ended":       func(p *session.Peer) udp.Handler { p.End(); return udp.BaseHandler{} },
	} {
		t.Run(name, func(t *testing.T) {
			m := session.Handler(session.Config{MaxSessions: 1}, begin)
			r, _ := recorded(t, m)
			r.Receive(from(1, "a"))
			require.EqualValues(t, 1, m.Stats().Rejected)
			require.Zero(t, m.Stats().Begun)
			requireAgreement(t, m.Stats())
		})
	}
}

func TestPanicsEndNoOtherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls calls
		var logged bytes.Buffer
		cfg := session.Config{IdleTimeout: time.Second, Socket: udp.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}}
		m := session.Handler(cfg, func(p *session.Peer) udp.Handler {
			switch p.Addr() {
			case address(1):
				panic("begin")
			case address(2):
				return panics{}
			}
			return log{name: p.Addr().Addr().String(), calls: &calls}
		})
		r := udptest.NewRecorder(t)
		socket := r.Config()
		socket.Logger = cfg.Socket.Logger
		c, err := socket.Listen(t.Context(), "udp", ":0", m)
		require.NoError(t, err)
		defer end(c)
		for i := 1; i <= 3; i++ {
			r.Receive(from(i, "a"))
		}
		time.Sleep(2 * time.Second) // both sessions end, 2 first
		synctest.Wait()
		require.Equal(t, []string{"10.0.0.3 started", "10.0.0.3 received a",
			"10.0.0.3 stopped " + session.ErrIdle.Error()}, calls.take())
		require.EqualValues(t, 1, m.Stats().Panics)
		require.EqualValues(t, 2, c.Stats().Panics)
		require.EqualValues(t, 2, m.Stats().Idle)
		require.Contains(t, logged.String(), "panic=Stopped")
		requireAgreement(t, m.Stats())
	})
}

type panics struct{ udp.BaseHandler }

// A datagram that begins a session is counted once, whichever function panics.
func TestStatsAgreeAfterPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := session.Config{Accept: func(d udp.Datagram) bool {
			if d.From == address(1) {
				panic("Accept")
			}
			return true
		}}
		m := session.Handler(cfg, func(p *session.Peer) udp.Handler {
			if p.Addr() == address(2) {
				panic("begin")
			}
			return startPanics{}
		})
		r, c := recorded(t, m)
		defer end(c)
		for i := 1; i <= 3; i++ {
			r.Receive(from(i, "a"))
		}
		require.EqualValues(t, 3, m.Stats().Rejected)
		require.EqualValues(t, 1, m.Stats().Begun)
		requireAgreement(t, m.Stats())
		r.Receive(from(3, "b")) // its session has begun
		require.EqualValues(t, 1, m.Stats().Delivered)
		requireAgreement(t, m.Stats())
	})
}

type startPanics struct{ udp.BaseHandler }

func (startPanics) Started(*udp.Conn) { panic("Started") }

func (panics) Received(*udp.Conn, udp.Datagram) { panic("Received") }
func (panics) Stopped(*udp.Conn, error)         { panic("Stopped") }

func TestAQueueForEachSession(t *testing.T) {
	queues := map[string]*udp.Queue{}
	m := session.Handler(session.Config{}, func(p *session.Peer) udp.Handler {
		q := udp.NewQueue(4, udp.DropNewest)
		queues[p.Addr().Addr().String()] = q
		return q
	})
	r, c := recorded(t, m)
	for i := range 3 {
		r.Receive(from(i, "one"))
		r.Receive(from(i, "two"))
	}
	end(c)
	require.Len(t, queues, 3)
	for _, q := range queues {
		require.Equal(t, "one", string((<-q.Datagrams()).Data))
		require.Equal(t, "two", string((<-q.Datagrams()).Data))
		_, ok := <-q.Datagrams()
		require.False(t, ok)
	}
}

func TestEachSocketHasSessionsOfItsOwn(t *testing.T) {
	broken := errors.New("broken")
	var calls calls
	m := session.Handler(session.Config{MaxSessions: 1}, func(p *session.Peer) udp.Handler {
		return log{name: p.Addr().Addr().String(), calls: &calls}
	})
	a, _ := recorded(t, m)
	b, _ := recorded(t, m)
	a.Receive(from(1, "a"))
	b.Receive(from(1, "b"))
	a.Fail(broken)
	b.Receive(from(1, "c"))
	require.Equal(t, []string{
		"10.0.0.1 started", "10.0.0.1 received a", "10.0.0.1 started", "10.0.0.1 received b",
		"10.0.0.1 stopped read udp [::]:5000: broken", "10.0.0.1 received c",
	}, calls.take())
	require.EqualValues(t, 1, m.Stats().Failed)
	require.EqualValues(t, 1, m.Stats().Active)
	requireAgreement(t, m.Stats())
}

func TestASocketThatWasNotStarted(t *testing.T) {
	m := session.Handler(session.Config{}, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
	r, _ := recorded(t, udp.HandlerFunc(m.Received)) // passes datagrams on, and nothing else
	r.Receive(from(1, "a"))
	require.EqualValues(t, 1, m.Stats().NotListening)
	requireAgreement(t, m.Stats())
}

func TestStatsHaveNames(t *testing.T) {
	m := session.Handler(session.Config{}, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
	r, _ := recorded(t, m)
	r.Receive(from(1, "a"))
	r.Receive(from(1, "b"))
	got, names := map[string]float64{}, []string{}
	for name, value := range m.Stats().All() {
		got[name] = value
		names = append(names, name)
	}
	require.EqualValues(t, 2, got["received"])
	require.EqualValues(t, 1, got["active"])
	require.Len(t, names, len(got))
	require.Equal(t, 19, len(got))
	for range m.Stats().All() {
		break
	}
}

func TestDroppedDatagramsAreNotHandled(t *testing.T) {
	m := session.Handler(session.Config{Accept: func(d udp.Datagram) bool { return len(d.Data) > 1 }},
		func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
	r, c := recorded(t, m)
	r.Receive(from(1, "x"))
	r.Receive(from(1, "xx"))
	r.Receive(from(1, "x"))
	end(c)
	require.EqualValues(t, 1, c.Stats().Dropped.Handler)
	require.EqualValues(t, 2, c.Stats().Handled)
}
