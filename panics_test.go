//go:build unix

package udp_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/udptest"
)

// logRecords reads what a slog.JSONHandler wrote: how many records each message
// has, and how many it had with those left out.
func logRecords(t *testing.T, out *bytes.Buffer) (records, told map[string]int) {
	t.Helper()
	records, told = map[string]int{}, map[string]int{}
	for d := json.NewDecoder(out); d.More(); {
		var r struct {
			Msg, Stack string
			Omitted    int
		}
		require.NoError(t, d.Decode(&r))
		require.Contains(t, r.Stack, "panics_test.go", "the stack is that of the panic")
		records[r.Msg]++
		told[r.Msg] += 1 + r.Omitted
	}
	return records, told
}

// A Refused that panics each time is called each time, and fills no log.
func TestRefusedPanicsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var out bytes.Buffer
		s := newScripted()
		c := s.dial(t, udp.Config{Logger: slog.New(slog.NewJSONHandler(&out, nil))}, &recorderOf{
			received: func(*udp.Conn, udp.Datagram) {},
			refused: func(*udp.Conn, *udp.Refusal) {
				time.Sleep(10 * time.Millisecond)
				panic("again")
			},
		})
		for range n {
			s.inputs <- []socket.Report{{Peer: there, Err: syscall.ECONNREFUSED}}
		}
		time.Sleep(time.Minute)
		s.inputs <- []socket.Report{{Peer: there, Err: syscall.ECONNREFUSED}} // tells of those left out
		s.arrive("alive")
		time.Sleep(time.Minute)
		require.NoError(t, c.Close())
		st := c.Stats()
		require.EqualValues(t, n+1, st.Refused)
		require.EqualValues(t, n+1, st.Panics)
		require.EqualValues(t, 1, st.Handled)
		require.Zero(t, st.Dropped.Panicked, "no datagram was lost by it")
		records, told := logRecords(t, &out)
		require.Equal(t, map[string]int{"udp: panic in Refused": n + 1}, told)
		require.LessOrEqual(t, records["udp: panic in Refused"], 12, "in eleven seconds")
	})
}

// An OnMembership that panics is survived like the other callbacks.
func TestOnMembershipPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		group := netip.MustParseAddr("239.1.2.3")
		lan := udptest.NewNet(t, udptest.Config{}).Segment("lan")
		host, other := lan.Host("host", "10.0.0.2/24"), lan.Host("other", "10.0.0.3/24")
		var calls atomic.Int64
		q := udp.NewQueue(10, udp.Block)
		cfg := udp.Config{
			Network: host.Network(), Logger: slog.New(slog.NewJSONHandler(&out, nil)),
			OnMembership: func(*udp.MulticastConn, udp.Membership) { calls.Add(1); panic("changed") },
		}
		m, err := cfg.ListenMulticast(t.Context(), "udp4", ":5000", q, group)
		require.NoError(t, err)
		synctest.Wait()
		before := calls.Load()
		for _, down := range []bool{true, false} {
			host.Interface("eth0").SetDown(down)
			time.Sleep(time.Minute)
		}
		require.Greater(t, calls.Load(), before)

		sender, err := udp.Config{Network: other.Network()}.Listen(t.Context(), "udp4", ":0", udp.BaseHandler{})
		require.NoError(t, err)
		require.NoError(t, sender.SendTo([]byte("alive"), netip.AddrPortFrom(group, 5000)))
		require.Equal(t, "alive", string((<-q.Datagrams()).Data))
		require.NoError(t, sender.Close())
		require.NoError(t, m.Close())
		require.EqualValues(t, calls.Load(), m.Stats().Panics)
		_, told := logRecords(t, &out)
		require.Equal(t, map[string]int{"udp: panic in OnMembership": int(calls.Load())}, told)
	})
}

// An OnMembership that ends its goroutine closes the socket in order, as another
// callback that does so.
func TestOnMembershipGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := udptest.NewNet(t, udptest.Config{}).Segment("lan").Host("host", "10.0.0.2/24")
		h := newRecorder()
		cfg := udp.Config{Network: host.Network(), OnMembership: func(*udp.MulticastConn, udp.Membership) { runtime.Goexit() }}
		m, err := cfg.ListenMulticast(t.Context(), "udp4", ":5000", h, netip.MustParseAddr("239.1.2.3"))
		require.NoError(t, err)
		host.Interface("eth0").SetDown(true)
		<-m.Done()
		require.Equal(t, "Started", (<-h.events).name)
		e := <-h.events
		require.Equal(t, "Stopped", e.name)
		require.ErrorContains(t, e.err, "Goexit")
		require.NoError(t, m.Close())
	})
}
