package tap_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/tap"
)

// wire is a socket that takes one message of a batch, has two datagrams queued, and has
// been repaired once.
type wire struct{ socket.Socket }

func (wire) Send(socket.Message) error                         { return nil }
func (wire) SendBatch([]socket.Message, bool) (int, error)     { return 1, nil }
func (wire) Discard() int                                      { return 2 }
func (wire) Rebinds() uint64                                   { return 1 }
func (wire) Pull(into []byte, _ bool) ([]socket.Packet, error) { return make([]socket.Packet, 3), nil }
func (wire) Done()                                             {}

func (wire) Serve(to socket.Sink) error {
	to.Packets(make([]socket.Packet, 1))
	to.Woken()
	to.Woken()
	return nil
}

// reader is the Sink behind the tap.
type reader struct{ socket.Sink }

func (reader) Packets([]socket.Packet) bool { return true }
func (reader) Woken() socket.Action         { return socket.Continue }

func TestEverythingPassesTheTap(t *testing.T) {
	var received, sent, discarded, rebound int
	s := &tap.Socket{Socket: wire{}, Hooks: tap.Hooks{
		Received:  func(ps []socket.Packet) { received += len(ps) },
		Sent:      func(ms []socket.Message, n int, at time.Time) { sent += n },
		Discarded: func() { discarded++ },
		Rebound:   func() { rebound++ },
	}}
	require.NoError(t, s.Send(socket.Message{}))
	n, err := s.SendBatch(make([]socket.Message, 2), true)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 2, s.Discard())
	require.NoError(t, s.Serve(reader{}))
	_, err = s.Puller(wire{}).Pull(nil, false)
	require.NoError(t, err)
	require.Equal(t, []int{4, 2, 2, 1}, []int{received, sent, discarded, rebound}, "a repair is shown once")
}
