package udptest_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// journal is a handler that writes down what it is told.
type journal struct{ lines []string }

func (j *journal) Started(c *udp.Conn) {
	j.lines = append(j.lines, "started")
	_ = c.SendTo([]byte("hello"), netip.MustParseAddrPort("10.0.0.9:9"))
}
func (j *journal) Received(_ *udp.Conn, d udp.Datagram) {
	j.lines = append(j.lines, "received "+string(d.Data)+" to "+d.To().Addr().String())
	_ = d.Reply(append([]byte("re: "), d.Data...))
}
func (j *journal) Refused(_ *udp.Conn, r *udp.Refusal) {
	j.lines = append(j.lines, "refused by "+r.Peer.String())
}
func (j *journal) Stopped(_ *udp.Conn, err error) {
	line := "stopped"
	if err != nil {
		line += ": " + errors.Unwrap(err).Error()
	}
	j.lines = append(j.lines, line)
}

// Twisted: V2
func TestARecorderFeedsAndRecords(t *testing.T) {
	r, j := udptest.NewRecorder(), new(journal)
	c := r.Start(j)
	sent := r.Sent()
	require.Len(t, sent, 1)
	require.Equal(t, "hello", string(sent[0].Data))
	peer := netip.MustParseAddrPort("10.0.0.2:7")
	r.Receive(udp.Datagram{From: peer, Data: []byte("a")})
	r.Receive(udptest.Datagram(udptest.Header{From: peer, To: netip.MustParseAddrPort("239.1.2.3:9")}, []byte("b")))
	require.Equal(t, []udp.Message{
		{Data: []byte("re: a"), To: peer, From: netip.MustParseAddr("192.0.2.1")},
		{Data: []byte("re: b"), To: peer},
	}, r.Sent())
	require.Empty(t, r.Sent())
	r.Refuse(&udp.Refusal{Peer: peer, Err: syscall.ECONNREFUSED})
	require.NoError(t, c.Close())
	require.Equal(t, []string{
		"started", "received a to 192.0.2.1", "received b to 239.1.2.3", "refused by 10.0.0.2:7", "stopped",
	}, j.lines)
	require.Equal(t, uint64(2), c.Stats().Received)
}

func TestARecorderFailsAndConnects(t *testing.T) {
	r, j := udptest.NewRecorder(), new(journal)
	r.Start(j)
	require.Panics(t, func() { r.Start(j) }, "the port is taken")
	r.Fail(syscall.EIO)
	require.Equal(t, []string{"started", "stopped: input/output error"}, j.lines)

	q := udp.NewQueue(9, udp.Block)
	c, err := udp.Config{Network: r.Network()}.Dial(ctx, "udp", "198.51.100.1:53", q)
	require.NoError(t, err)
	r.Sent()
	require.NoError(t, c.Send([]byte("?")))
	require.Equal(t, []udp.Message{{Data: []byte("?"), To: c.RemoteAddrPort()}}, r.Sent())
	r.Receive(udp.Datagram{Data: []byte("!")})
	r.Receive(udp.Datagram{From: netip.MustParseAddrPort("10.0.0.2:7"), Data: []byte("a stranger's")})
	require.Equal(t, "!", string((<-q.Datagrams()).Data))
	require.Equal(t, uint64(1), c.Stats().Dropped.Stranger)
	r.Refuse(&udp.Refusal{Err: syscall.ECONNREFUSED})
	require.Equal(t, c.RemoteAddrPort(), (<-q.Refusals()).Peer)
	require.NoError(t, c.Close())
}

func TestARecorderWhoseSocketIsClosedPanics(t *testing.T) {
	r := udptest.NewRecorder()
	require.PanicsWithValue(t, "udptest: the Recorder has no socket yet: call Start", func() { r.Receive(udp.Datagram{}) })
	require.NoError(t, r.Start(udp.BaseHandler{}).Close())
	for _, feed := range []func(){
		func() { r.Receive(udp.Datagram{}) }, func() { r.Refuse(&udp.Refusal{}) }, func() { r.Fail(syscall.EIO) },
	} {
		require.PanicsWithValue(t, "udptest: the Recorder's socket is closed", feed)
	}
	require.NoError(t, r.Start(udp.BaseHandler{}).Close())
}
