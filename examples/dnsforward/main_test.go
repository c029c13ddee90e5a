package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
	"github.com/udpkit/udp/udptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pack(t testing.TB, m dnsmessage.Message) []byte {
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func query(t testing.TB, id uint16, name string) []byte {
	return pack(t, dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}})
}

// answer is a name server that knows every name: its address is 192.0.2.1.
func answer(_ *udp.Conn, d udp.Datagram) {
	var m dnsmessage.Message
	if m.Unpack(d.Data) != nil {
		return
	}
	m.Response = true
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
		Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
	}}
	b, err := m.Pack()
	if err == nil {
		_ = d.Reply(b)
	}
}

// network has a forwarder with two addresses, the servers one and two, and a client.
type network struct {
	t                               *testing.T
	forwarder, one, two, askingHost *udptest.Host
	q                               *udp.Queue
	client                          *udp.Conn
	stop                            func() string
}

func newNetwork(t *testing.T, flags ...string) *network {
	n := udptest.NewNet(t, udptest.Config{Seed: 1})
	w := &network{t: t, forwarder: n.Host("forwarder", "10.0.0.1", "10.0.0.9"), one: n.Host("one", "10.0.1.1"),
		two: n.Host("two", "10.0.1.2"), askingHost: n.Host("client", "10.0.2.1"), q: udp.NewQueue(5000, udp.Block)}
	ctx, cancel := context.WithCancel(context.Background())
	var out strings.Builder
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append(flags, "10.0.1.1:53", "10.0.1.2:53"), &out, w.forwarder.Config())
	}()
	c, err := w.askingHost.Config().Listen(ctx, "udp", ":0", w.q)
	require.NoError(t, err)
	w.client = c
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	w.stop = func() string {
		cancel()
		require.NoError(t, <-ended)
		return out.String()
	}
	synctest.Wait()
	return w
}

func (w *network) serve(h *udptest.Host) {
	c, err := h.Config().Listen(context.Background(), "udp", ":53", udp.HandlerFunc(answer))
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
}

func (w *network) ask(id uint16) {
	require.NoError(w.t, w.client.SendTo(query(w.t, id, fmt.Sprintf("host%d.example.", id)), netip.MustParseAddrPort("10.0.0.9:53")))
}

func (w *network) response() (m dnsmessage.Message, from netip.AddrPort) {
	d := <-w.q.Datagrams()
	require.NoError(w.t, m.Unpack(d.Data))
	return m, d.From
}

func both(t *testing.T, f func(t *testing.T, w *network)) {
	for _, flags := range [][]string{nil, {"-random-ports"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, newNetwork(t, flags...)) })
		})
	}
}

func TestAResponseComesFromTheAskedAddress(t *testing.T) {
	both(t, func(t *testing.T, w *network) {
		w.serve(w.one)
		w.ask(7)
		m, from := w.response()
		require.Equal(t, uint16(7), m.ID)
		require.Equal(t, "host7.example.", m.Questions[0].Name.String())
		require.Len(t, m.Answers, 1)
		require.Equal(t, "10.0.0.9:53", from.String())
		require.Contains(t, w.stop(), "received 1, asked 1, succeeded 1, late 0, spoofed 0")
	})
}

func TestTheNextServerIsAskedWhenOneIsDown(t *testing.T) {
	both(t, func(t *testing.T, w *network) {
		w.serve(w.two)
		begin := time.Now()
		w.ask(7)
		m, _ := w.response()
		require.Len(t, m.Answers, 1)
		require.Less(t, time.Since(begin), time.Millisecond)
		w.stop()
	})
}

func TestTheNextServerIsAskedWhenOneIsSilent(t *testing.T) {
	both(t, func(t *testing.T, w *network) {
		w.serve(w.two)
		w.one.Out().SetDown(true)
		begin := time.Now()
		w.ask(7)
		m, _ := w.response()
		require.Len(t, m.Answers, 1)
		require.Less(t, time.Since(begin), 3*time.Second)
		w.stop()
	})
}

func TestTwoDeadServersAreAFailure(t *testing.T) {
	both(t, func(t *testing.T, w *network) {
		w.ask(7)
		m, _ := w.response()
		require.Equal(t, uint16(7), m.ID)
		require.True(t, m.Response)
		require.Equal(t, dnsmessage.RCodeServerFailure, m.RCode)
		w.stop()
	})
}

func TestManyQueriesOverABadLink(t *testing.T) {
	both(t, func(t *testing.T, w *network) {
		w.serve(w.one)
		w.serve(w.two)
		w.one.SetLink(udptest.Faults{Loss: 0.1, Duplicate: 0.1, Latency: 10 * time.Millisecond})
		const n = 2000
		for i := range uint16(n) {
			w.ask(i)
			if i%20 == 0 {
				time.Sleep(time.Millisecond) // more at once than the receive buffer holds would be lost
			}
		}
		seen := map[uint16]bool{}
		for range n {
			m, _ := w.response()
			require.False(t, seen[m.ID])
			seen[m.ID] = true
			require.Equal(t, fmt.Sprintf("host%d.example.", m.ID), m.Questions[0].Name.String())
			require.Len(t, m.Answers, 1)
		}
		w.stop()
	})
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"192.0.2.53"}} {
		require.ErrorContains(t, run(t.Context(), args, io.Discard, udp.Config{}), "needs servers", "%v", args)
	}
}

func TestDig(t *testing.T) {
	program.Need(t, "dig")
	server, err := udp.Listen(t.Context(), "udp", "127.0.0.1:0", udp.HandlerFunc(answer))
	require.NoError(t, err)
	defer func() {
		server.Close()
		<-server.Done()
	}()
	p := program.Run(t, func(ctx context.Context, stdout io.Writer) error {
		return run(ctx, []string{"-listen", "127.0.0.1:0", server.LocalAddrPort().String()}, stdout, udp.Config{})
	})
	port := p.Line(`^listening on \S+:(\d+)$`)[1]
	dig := program.Start(t, nil, "dig", "@127.0.0.1", "-p", port, "+short", "example.org")
	require.Equal(t, []string{"192.0.2.1"}, dig.Rest())
}

func FuzzMessages(f *testing.F) {
	q := query(f, 7, "example.com.")
	response := append([]byte(nil), q...)
	response[2] |= 0x80
	f.Add(q, response)
	f.Add(q, q)
	f.Add(q[:headerSize], []byte{})
	f.Fuzz(func(t *testing.T, q, response []byte) {
		_, ok := id(q)
		require.Equal(t, len(q) >= headerSize, ok)
		if !sameQuestion(q, response) {
			return
		}
		// It is a response, and to the same question.
		require.NotZero(t, response[2]&0x80)
		asked, _, err := question(q)
		require.NoError(t, err)
		answered, _, err := question(response)
		require.NoError(t, err)
		require.Equal(t, asked, answered)
	})
}
