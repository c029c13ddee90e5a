//go:build unix

package udp_test

import (
	"bytes"
	"encoding/json"
	"log"
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
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/udptest"
)

// logRecords reads what a slog.JSONHandler wrote: how many records each message
// has, and how many it had with those left out.
func logRecords(t *testing.T, out *bytes.Buffer) (records, reported map[string]int) {
	t.Helper()
	records, reported = map[string]int{}, map[string]int{}
	for d := json.NewDecoder(out); d.More(); {
		var r struct {
			Msg, Stack string
			Omitted    int
		}
		require.NoError(t, d.Decode(&r))
		require.Contains(t, r.Stack, "handler_panics_test.go", "the stack is that of the panic")
		records[r.Msg]++
		reported[r.Msg] += 1 + r.Omitted
	}
	return records, reported
}

// A Refused that panics each time is called each time, and fills no log.
func TestRefusedPanicsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var out bytes.Buffer
		s := sockettest.NewScripted()
		c := s.Dial(t, udp.Config{Logger: slog.New(slog.NewJSONHandler(&out, nil))}, &sockettest.Funcs{
			OnReceived: func(*udp.Conn, udp.Datagram) {},
			OnRefused: func(*udp.Conn, *udp.Refusal) {
				time.Sleep(10 * time.Millisecond)
				panic("again")
			},
		})
		for range n {
			s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: syscall.ECONNREFUSED}}
		}
		time.Sleep(time.Minute)
		s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: syscall.ECONNREFUSED}} // logs those left out
		s.Arrive("alive")
		time.Sleep(time.Minute)
		sockettest.Stop(t, c)
		st := c.Stats()
		require.EqualValues(t, n+1, st.Refused)
		require.EqualValues(t, n+1, st.Panics)
		require.EqualValues(t, 1, st.Handled)
		require.Zero(t, st.Dropped.Panicked, "no datagram was lost by it")
		records, reported := logRecords(t, &out)
		require.Equal(t, map[string]int{"udp: panic in Refused": n + 1}, reported)
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
		t.Cleanup(func() { sockettest.Stop(t, m) })
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
		sockettest.Stop(t, sender)
		sockettest.Stop(t, m)
		require.EqualValues(t, calls.Load(), m.Stats().Panics)
		_, reported := logRecords(t, &out)
		require.Equal(t, map[string]int{"udp: panic in OnMembership": int(calls.Load())}, reported)
	})
}

// An OnMembership that ends its goroutine closes the socket in order, as another
// callback that does so.
func TestOnMembershipGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := udptest.NewNet(t, udptest.Config{}).Segment("lan").Host("host", "10.0.0.2/24")
		h := sockettest.NewRecorder()
		cfg := udp.Config{Network: host.Network(), OnMembership: func(*udp.MulticastConn, udp.Membership) { runtime.Goexit() }}
		m, err := cfg.ListenMulticast(t.Context(), "udp4", ":5000", h, netip.MustParseAddr("239.1.2.3"))
		require.NoError(t, err)
		host.Interface("eth0").SetDown(true)
		<-m.Done()
		require.Equal(t, "Started", (<-h.Events).Name)
		e := <-h.Events
		require.Equal(t, "Stopped", e.Name)
		require.ErrorContains(t, e.Err, "Goexit")
		sockettest.Stop(t, m)
	})
}

// A ReadDone or OnSendError that panics costs nothing but a record.
func TestReadDoneAndOnSendErrorPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s, h := sockettest.NewScripted(), &ending{Recorder: sockettest.NewRecorder()}
		s.OnSend = sockettest.Always(sockettest.SysError(syscall.EXDEV))
		h.readDone = func(*udp.Conn) { panic("again") }
		h.OnReceived = func(_ *udp.Conn, d udp.Datagram) { d.Reply(d.Data) }
		cfg := udp.Config{
			Logger:      slog.New(slog.NewJSONHandler(&out, nil)),
			OnSendError: func(*udp.Conn, netip.AddrPort, error) { panic("again") },
		}
		c := s.Listen(t, cfg, h)
		s.Inputs <- sockettest.Coalesced("ab")
		s.Inputs <- sockettest.Coalesced("cd")
		require.NoError(t, c.Shutdown(t.Context()))
		st := c.Stats()
		sockettest.CountersAgree(t, st)
		require.EqualValues(t, 4, st.Handled)
		require.EqualValues(t, 4, st.SendErrors)
		require.EqualValues(t, 2+2, st.Panics, "the last reply of each read has its error returned")
		require.Contains(t, out.String(), "udp: panic in ReadDone")
		require.Contains(t, out.String(), "udp: panic in OnSendError")
	})
}

// ReadDone is called after each read, after its datagrams and before the next one.
func TestReadDoneFollowsEachRead(t *testing.T) {
	s := sockettest.NewScripted()
	var got []string
	h := &ending{Recorder: sockettest.NewRecorder()}
	h.OnReceived = func(c *udp.Conn, d udp.Datagram) { got = append(got, string(d.Data)) }
	h.readDone = func(c *udp.Conn) { got = append(got, "done") }
	c := s.Listen(t, udp.Config{}, h)
	s.Arrive("a", "b")
	s.Inputs <- sockettest.Coalesced("cd", "e")
	s.Arrive("f")
	require.NoError(t, c.Shutdown(t.Context()))
	require.Equal(t, []string{"a", "b", "done", "c", "d", "e", "done", "f", "done"}, got)
}

// Without a Logger panics, and nothing else, are logged through slog.Default, once a
// second; a Logger that discards silences them, and no stack is taken for it.
func TestPanicsWithoutALogger(t *testing.T) {
	var out bytes.Buffer
	before, w, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&out, nil)))
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(w)
		log.SetFlags(flags)
	}()
	for _, cfg := range []udp.Config{{}, {Logger: sockettest.Quiet}} {
		synctest.Test(t, func(t *testing.T) {
			out.Reset()
			s := sockettest.NewScripted()
			s.OnSend = sockettest.Always(sockettest.SysError(syscall.EXDEV))
			c := s.Listen(t, cfg, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
				c.Enqueue(udp.Message{Data: d.Data, To: sockettest.There}) // a late error
				panic("again")
			}))
			s.Inputs <- sockettest.Coalesced("abcdefgh")
			s.Fail(sockettest.SysError(syscall.ENOBUFS))
			require.NoError(t, c.Shutdown(t.Context()))
			require.EqualValues(t, 8, c.Stats().Panics)
			require.NotZero(t, c.Stats().SendErrors)
			if cfg.Logger != nil {
				require.Empty(t, out.String())
				return
			}
			records, reported := logRecords(t, &out)
			require.Equal(t, map[string]int{"udp: panic in Received": 1}, records)
			require.Equal(t, records, reported)
		})
	}
}

// The writer calls OnSendError, too, and the socket needs it until its end.
func TestOnSendErrorGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		var called atomic.Int32
		fail := func(errno syscall.Errno) {
			s.Mu.Lock()
			defer s.Mu.Unlock()
			s.OnSend = sockettest.Always(sockettest.SysError(errno))
		}
		c := s.Listen(t, udp.Config{OnSendError: func(*udp.Conn, netip.AddrPort, error) {
			called.Add(1)
			runtime.Goexit()
		}}, udp.BaseHandler{})
		for range 2 {
			fail(syscall.EAGAIN)
			require.NoError(t, c.Enqueue(udp.Message{To: sockettest.There}))
			synctest.Wait() // the writer waits for room
			fail(syscall.EXDEV)
			time.Sleep(time.Second)
		}
		require.EqualValues(t, 2, called.Load())
		c.Close()
		select {
		case <-c.Done():
		case <-time.After(time.Minute):
			t.Fatal("Close never ends")
		}
	})
}

// A record names the function that has panicked, so that each has its own record a second.
func TestAPanicIsLoggedUnderItsFunction(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  udp.WorkersConfig
		want map[string]int
	}{
		{"Handler", udp.WorkersConfig{N: 1}, map[string]int{"udp: panic in Received": 1, "udp: panic in Refused": 1}},
		{"Key", udp.WorkersConfig{Key: func(udp.Datagram) uint64 { panic("again") }}, map[string]int{"udp: panic in WorkersConfig.Key": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				test.cfg.Handler = &sockettest.Funcs{
					OnReceived: func(*udp.Conn, udp.Datagram) { panic("again") },
					OnRefused:  func(*udp.Conn, *udp.Refusal) { panic("again") },
				}
				s := sockettest.NewScripted()
				c := s.Dial(t, udp.Config{Logger: slog.New(slog.NewJSONHandler(&out, nil))}, sockettest.NewWorkers(t, test.cfg))
				s.Arrive("datagram")
				if test.name == "Key" {
					time.Sleep(time.Minute) // else the second record is left out
				}
				s.Inputs <- []socket.Report{{Peer: sockettest.There, Err: syscall.ECONNREFUSED}}
				require.NoError(t, c.Shutdown(t.Context()))
				require.EqualValues(t, 2, c.Stats().Panics)
				records, _ := logRecords(t, &out)
				require.Equal(t, test.want, records)
			})
		})
	}
}
