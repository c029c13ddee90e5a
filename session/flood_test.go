package session_test

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udptest"
)

// heap returns the live bytes of the heap.
func heap() int64 {
	runtime.GC()
	runtime.GC() // empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// listenRecorded opens a Listener on a socket that is connected to nothing.
func listenRecorded(t testing.TB, cfg session.Config) (*session.Listener, *udptest.Recorder) {
	r := udptest.NewRecorder(t)
	cfg.Socket.Network = r.Network()
	ln, err := cfg.Listen(background, "udp", ":0")
	require.NoError(t, err)
	t.Cleanup(func() { end(ln.Conn()) })
	return ln, r
}

func TestASessionTakesLessThanTwoKilobytes(t *testing.T) {
	const n = 20_000
	ln, r := listenRecorded(t, session.Config{MaxSessions: n, Backlog: n})
	before := heap()
	conns := make([]*session.Conn, n)
	for i := range n {
		r.Receive(from(i, "hello"))
		conns[i] = accept(t, ln)
		require.Equal(t, "hello", read(t, conns[i]))
	}
	each := (heap() - before) / n
	t.Logf("%d bytes a session", each)
	require.Less(t, each, int64(2048))
	require.EqualValues(t, n, ln.Stats().Active)
	runtime.KeepAlive(conns)
}

// TestAFloodFromAMillionPeers passes the datagrams of forged peers to a Mux by itself: a million
// take a second.
func TestAFloodFromAMillionPeers(t *testing.T) {
	const sessions, existing = 2000, 100
	n := 1_000_000
	if raceEnabled || testing.Short() {
		n = 100_000
	}
	replies := 0
	// A slow machine takes more than a minute for a million.
	cfg := session.Config{MaxSessions: sessions, IdleTimeout: time.Hour}
	m := session.Handler(cfg, func(p *session.Peer) udp.Handler {
		return echo{peer: p, replies: &replies}
	})
	_, c := recorded(t, m)
	for i := range existing {
		m.Received(c, from(i, "ask"))
		m.Received(c, from(i, "ask")) // confirms the session
	}
	for i := range 2 * sessions {
		m.Received(c, forged(i))
	}
	before := heap()
	for i := 2 * sessions; i < n; i++ {
		m.Received(c, forged(i))
	}
	grown := heap() - before
	t.Logf("%d peers, memory grew by %d bytes, %+v", n, grown, m.Stats())
	require.Less(t, grown, int64(4<<20)) // 42 bytes each of the fewest peers
	replies = 0
	for i := range existing {
		m.Received(c, from(i, "ask"))
	}
	require.Equal(t, existing, replies, "the flood has disturbed existing sessions")
	s := m.Stats()
	require.EqualValues(t, sessions, s.Active)
	require.EqualValues(t, n+existing-sessions, s.Evicted)
	require.EqualValues(t, n+existing, s.Begun) // and no existing one began again
	requireAgreement(t, s)
	runtime.KeepAlive(m)
}

// echo counts its replies.
type echo struct {
	udp.BaseHandler
	peer    *session.Peer
	replies *int
}

func (e echo) Received(_ *udp.Conn, d udp.Datagram) {
	*e.replies++
	_ = e.peer.Send(d.Data) // fails: the datagrams of this test came by no socket
}

// forged is a datagram of a peer that does not exist.
func forged(i int) udp.Datagram {
	d := from(i, "forged")
	d.From = netip.AddrPortFrom(d.From.Addr(), 6000)
	return d
}

// TestAFloodOfAListener has forged peers accepted by a program that starts a goroutine for each
// session, as servers do.
func TestAFloodOfAListener(t *testing.T) {
	const sessions, existing = 2000, 100
	n := 50_000
	if raceEnabled {
		n = 20_000
	}
	ln, r := listenRecorded(t, session.Config{MaxSessions: sessions})
	serving := make(chan struct{})
	var running atomic.Int64
	go func() {
		defer close(serving)
		for {
			s, err := ln.Accept()
			if err != nil {
				return
			}
			running.Add(1)
			go func() {
				defer running.Add(-1)
				defer s.Close()
				for b := make([]byte, 100); ; {
					n, err := s.Read(b)
					if err != nil {
						return
					}
					s.Write(b[:n])
				}
			}()
		}
	}()
	replies := func(want int) (got int) {
		deadline := time.Now().Add(time.Minute)
		for got < want && time.Now().Before(deadline) {
			for _, m := range r.Sent() {
				if string(m.Data) == "ask" {
					got++
				}
			}
			runtime.Gosched()
		}
		return got
	}
	for i := range existing {
		r.Receive(from(i, "ask"))
		require.Equal(t, 1, replies(1))
		r.Receive(from(i, "ask")) // confirms the session
		require.Equal(t, 1, replies(1))
	}

	settle := func() { // goroutines of evicted sessions are memory too
		for {
			if s := ln.Stats(); s.Waiting == 0 && uint64(running.Load()) == s.Active {
				return
			}
			runtime.Gosched()
		}
	}
	flood := func(first, end, some int) {
		for i := first; i < end; i++ {
			r.Receive(forged(i))
			if i%some == 0 {
				r.Sent() // forget what it has recorded
				settle()
			}
		}
		r.Sent()
		settle()
	}
	flood(0, 2*sessions, 100) // the pool is full then, so that the flood begins with its memory in place
	before := heap()
	flood(2*sessions, n, 1000) // more than can wait for Accept
	grown := heap() - before
	t.Logf("%d peers, memory grew by %d bytes, %+v", n, grown, ln.Stats())
	require.Less(t, grown, int64(6<<20)) // half a session each of the fewest peers
	require.LessOrEqual(t, ln.Stats().Active, uint64(sessions))

	for i := range existing {
		r.Receive(from(i, "ask"))
	}
	require.Equal(t, existing, replies(existing), "the flood has disturbed existing sessions")
	s := ln.Stats()
	require.Equal(t, uint64(n), s.Received-3*existing)
	require.Equal(t, s.Begun+s.BacklogFull, uint64(n+existing))
	require.NotZero(t, s.Evicted)
	require.Equal(t, s.Evicted, s.Begun-s.Active-s.Closed)
	end(ln.Conn())
	<-serving
	requireAgreement(t, ln.Stats())
}
