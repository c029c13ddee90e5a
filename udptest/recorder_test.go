package udptest_test

import (
	"errors"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// journal is a handler that records its callbacks.
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
	r, j := udptest.NewRecorder(t), new(journal)
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
	closed(t, c)
	require.Equal(t, []string{
		"started", "received a to 192.0.2.1", "received b to 239.1.2.3", "refused by 10.0.0.2:7", "stopped",
	}, j.lines)
	require.Equal(t, uint64(2), c.Stats().Received)
}

func TestARecorderFailsAndConnects(t *testing.T) {
	r, j := udptest.NewRecorder(t), new(journal)
	r.Start(j)
	r.Fail(syscall.EIO)
	require.Equal(t, []string{"started", "stopped: input/output error"}, j.lines)

	q := udp.NewQueue(9, udp.Block)
	c := r.Dial("198.51.100.1:53", q)
	r.Sent()
	require.NoError(t, c.Send([]byte("?")))
	require.Equal(t, []udp.Message{{Data: []byte("?"), To: c.RemoteAddrPort()}}, r.Sent())
	r.Receive(udp.Datagram{Data: []byte("!")})
	r.Receive(udp.Datagram{From: netip.MustParseAddrPort("10.0.0.2:7"), Data: []byte("a stranger's")})
	require.Equal(t, "!", string((<-q.Datagrams()).Data))
	require.Equal(t, uint64(1), c.Stats().Dropped.Stranger)
	r.Refuse(&udp.Refusal{Err: syscall.ECONNREFUSED})
	require.Equal(t, c.RemoteAddrPort(), (<-q.Refusals()).Peer)
	r.Fail(syscall.EIO)
	require.ErrorIs(t, q.Err(), syscall.EIO, "Fail waits for Stopped")
}

func TestARecorderHasAllFieldsOfAMessage(t *testing.T) {
	r := udptest.NewRecorder(t)
	c := r.Start(udp.BaseHandler{})
	m := udp.Message{
		Data: []byte("x"), To: netip.MustParseAddrPort("10.0.0.2:7"), From: netip.MustParseAddr("192.0.2.1"),
		IfIndex: 2, TTL: 7, TrafficClass: 0xb8, ECN: udp.CE,
	}
	n, err := c.SendBatch([]udp.Message{m})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []udp.Message{m}, r.Sent())
}

func TestARefusalOfARecorderHasTheErrorOfItsTypeAndCode(t *testing.T) {
	r := udptest.NewRecorder(t)
	for _, tt := range []struct {
		peer, text string
		code       [2]uint8 // type and code
		want       syscall.Errno
		got        [2]uint8
	}{
		{"198.51.100.1:53", "nothing is port unreachable", [2]uint8{}, syscall.ECONNREFUSED, [2]uint8{3, 3}},
		{"[2001:db8::9]:53", "nothing, IPv6", [2]uint8{}, syscall.ECONNREFUSED, [2]uint8{1, 4}},
		{"198.51.100.1:53", "host unreachable", [2]uint8{3, 1}, syscall.EHOSTUNREACH, [2]uint8{3, 1}},
		{"[2001:db8::9]:53", "prohibited, IPv6", [2]uint8{1, 1}, syscall.EACCES, [2]uint8{1, 1}},
		{"198.51.100.1:53", "too big", [2]uint8{3, 4}, syscall.EMSGSIZE, [2]uint8{3, 4}},
	} {
		q := udp.NewQueue(1, udp.Block)
		c := r.Dial(tt.peer, q)
		r.Refuse(&udp.Refusal{Type: tt.code[0], Code: tt.code[1]})
		got := <-q.Refusals()
		require.ErrorIs(t, got, tt.want, tt.text)
		require.Equal(t, tt.got, [2]uint8{got.Type, got.Code}, tt.text)
		require.NotContains(t, got.Error(), "nil", tt.text)
		closed(t, c)
	}
}

func TestARecorderClosesItsSocketWhenTheTestEnds(t *testing.T) {
	var c *udp.Conn
	j := new(journal)
	t.Run("", func(t *testing.T) { c = udptest.NewRecorder(t).Start(j) })
	select {
	case <-c.Done():
		require.Equal(t, []string{"started", "stopped"}, j.lines)
	default:
		t.Fatal("the socket is open")
	}
}

func TestARecorderWithoutAnOpenSocketFailsTheTest(t *testing.T) {
	fails := func(want string, f func()) {
		t.Helper()
		require.PanicsWithError(t, want, f)
	}
	r := udptest.NewRecorder(nil)
	fails("udptest: the Recorder has no socket yet: call Start", func() { r.Receive(udp.Datagram{}) })
	c := r.Start(udp.BaseHandler{})
	require.Panics(t, func() { r.Start(udp.BaseHandler{}) }, "the port is taken")
	closed(t, c)
	for _, feed := range []func(){
		func() { r.Receive(udp.Datagram{}) }, func() { r.Refuse(&udp.Refusal{}) }, func() { r.Fail(syscall.EIO) },
	} {
		fails("udptest: the socket of the Recorder is closed", feed)
	}
	closed(t, r.Start(udp.BaseHandler{}))

	f := &fatal{TB: t}
	r = udptest.NewRecorder(f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Receive(udp.Datagram{})
	}()
	<-done
	require.ErrorContains(t, f.err, "has no socket yet")
}

// fatal is a test that records why it failed.
type fatal struct {
	testing.TB
	err error
}

func (f *fatal) Fatal(args ...any) {
	f.err = args[0].(error)
	runtime.Goexit()
}
