package udp_test

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
)

// What a Handler passes to a Queue is counted once, by the socket that it came by,
// however it comes there.
func TestWhatIsPassedOnIsCountedOnce(t *testing.T) {
	kept := make(chan udp.Datagram, 1) // of another socket
	for name, pass := range map[string]func(q *udp.Queue, c *udp.Conn, d udp.Datagram){
		"its own":           func(q *udp.Queue, c *udp.Conn, d udp.Datagram) { q.Received(c, d) },
		"a copy":            func(q *udp.Queue, c *udp.Conn, d udp.Datagram) { q.Received(c, d.Clone()) },
		"without its Conn":  func(q *udp.Queue, _ *udp.Conn, d udp.Datagram) { q.Received(nil, d) },
		"another socket's":  func(q *udp.Queue, c *udp.Conn, _ udp.Datagram) { q.Received(c, <-kept) },
		"one that was made": func(q *udp.Queue, c *udp.Conn, _ udp.Datagram) { q.Received(c, udp.Datagram{Data: []byte("made")}) },
		"one of no socket":  func(q *udp.Queue, _ *udp.Conn, _ udp.Datagram) { q.Received(nil, udp.Datagram{}) },
	} {
		for _, overflow := range []udp.Overflow{udp.Block, udp.DropNewest, udp.DropOldest} {
			t.Run(name+", "+overflow.String(), func(t *testing.T) {
				capacity := 1
				if overflow == udp.Block {
					capacity = 2
				}
				q := udp.NewQueue(capacity, overflow)
				a, b := newScripted(), newScripted()
				other := a.listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
					if name == "another socket's" {
						d.Retain()
						kept <- d
					}
				}))
				c := b.listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { pass(q, c, d) }))
				a.arrive("1", "2")
				b.inputs <- trains("34")
				require.NoError(t, c.Shutdown(t.Context()))
				require.NoError(t, other.Shutdown(t.Context()))
				require.Len(t, q.Datagrams(), capacity)
				for _, c := range []*udp.Conn{c, other} {
					s := c.Stats()
					require.EqualValues(t, 2, s.Received)
					balanced(t, s)
					require.Zero(t, s.Panics)
				}
			})
		}
	}
}

// One that had been handled before, and comes into a Queue from another callback.
func TestWhatIsPassedOnAfterAPanicIsCountedOnce(t *testing.T) {
	s, h, q := newScripted(), newRecorder(), udp.NewQueue(1, udp.Block)
	var kept udp.Datagram
	h.received = func(_ *udp.Conn, d udp.Datagram) {
		if string(d.Data) != "kept" {
			panic("as I was told")
		}
		d.Retain()
		kept = d
	}
	h.refused = func(c *udp.Conn, _ *udp.Refusal) { q.Received(c, kept) }
	c := s.listen(t, udp.Config{}, h)
	s.arrive("kept", "panic")
	s.inputs <- []socket.Report{{Err: syscall.ECONNREFUSED}}
	require.NoError(t, c.Shutdown(t.Context()))
	require.Len(t, q.Datagrams(), 1)
	balanced(t, c.Stats())
	require.Equal(t, udp.Drops{Panicked: 1}, c.Stats().Dropped)
}

// A Queue that ended with its last socket takes nothing any more.
func TestWhatIsPassedToAnEndedQueueIsCounted(t *testing.T) {
	q := udp.NewQueue(10, udp.Block)
	require.NoError(t, listen(t, udp.Config{}, "udp4", q).Close())
	s := newScripted()
	c := s.listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) { q.Received(c, d) }))
	s.inputs <- trains("abc", "d")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, udp.Drops{Queue: 4}, c.Stats().Dropped)
	balanced(t, c.Stats())
}

// A datagram that somebody has made is in the books of the socket that it is given
// as, be it taken or dropped, from wherever it comes.
func TestWhatSomebodyHasMadeIsInTheBooks(t *testing.T) {
	made := udp.Datagram{Data: []byte("made"), From: netip.MustParseAddrPort("127.0.0.1:9")}
	t.Run("Queue", func(t *testing.T) {
		q := udp.NewQueue(2, udp.DropNewest)
		received := make(chan struct{})
		c := listen(t, udp.Config{}, "udp4", udp.HandlerFunc(func(c *udp.Conn, _ udp.Datagram) {
			q.Received(c, made) // which stands for what it was called for
			close(received)
		}))
		require.NoError(t, c.SendTo([]byte("x"), c.LocalAddrPort()))
		<-received
		for range 2 {
			q.Received(c, made)
		}
		require.NoError(t, c.Close())
		s := c.Stats()
		require.Equal(t, []uint64{3, 2, 1}, []uint64{s.Received, s.Handled, s.Dropped.Queue})
		require.Same(t, c, (<-q.Datagrams()).Conn())
	})
	t.Run("Workers", func(t *testing.T) {
		handled := make(chan *udp.Conn, 1)
		w := udp.NewWorkers(1, nil, udp.HandlerFunc(func(c *udp.Conn, _ udp.Datagram) { handled <- c }))
		c := listen(t, udp.Config{}, "udp4", w)
		w.Received(c, made)
		require.Same(t, c, next(t, handled))
		require.NoError(t, c.Close())
		w.Received(c, made)
		s := c.Stats()
		require.Equal(t, []uint64{2, 1, 1}, []uint64{s.Received, s.Handled, s.Dropped.Queue})
	})
}
