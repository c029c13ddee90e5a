package udp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
	"github.com/udpkit/udp/internal/sys"
)

// held is a server whose handler waits at the first datagram until open is
// called, so that all that was sent meanwhile comes with the next read.
func held(t *testing.T, cfg udp.Config, received func(c *udp.Conn, d udp.Datagram)) (server *udp.Conn, entered chan struct{}, open func()) {
	t.Helper()
	entered = make(chan struct{})
	gate, open := sockettest.NewGate()
	first := true
	server, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if first {
			first = false
			close(entered)
			<-gate
			return
		}
		received(c, d)
	}))
	require.NoError(t, err)
	sockettest.CloseAtEnd(t, server)
	t.Cleanup(open) // before it is closed
	return server, entered, open
}

func plainClient(t *testing.T, server *udp.Conn) *net.UDPConn {
	t.Helper()
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server.LocalAddrPort()))
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestRepliesOfOneReadLeaveInOrderAndWhole(t *testing.T) {
	const n = 200
	scratch := make([]byte, 4)
	server, entered, open := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		// The same memory for every reply: what was handed over must have been copied.
		copy(scratch, d.Data)
		if err := d.Reply(scratch); err != nil {
			t.Error(err)
		}
		clear(scratch)
	})
	client := plainClient(t, server)
	send := func(i uint32) {
		_, err := client.Write(binary.BigEndian.AppendUint32(nil, i))
		require.NoError(t, err)
	}
	send(0)
	<-entered
	for i := range uint32(n) {
		send(i)
	}
	open()
	got := make([]byte, 10)
	for i := range uint32(n) {
		k, err := client.Read(got)
		require.NoError(t, err)
		require.Equal(t, 4, k)
		require.Equal(t, i, binary.BigEndian.Uint32(got))
	}
	sockettest.Stop(t, server)
	require.EqualValues(t, n, server.Stats().Sent)
}

// What is kept leaves before an immediate send, from whichever goroutine, and with
// Flush.
func TestImmediateSendsFlushTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		var kept, sent [][]string
		step := func(f func() error) {
			kept = append(kept, s.TakeSent())
			assert.NoError(t, f())
			sent = append(sent, s.TakeSent())
		}
		c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			if d.Data[0] == 'z' {
				return // the last one of the read, whose reply would not be kept
			}
			one := udp.Message{Data: []byte("now"), To: sockettest.There}
			assert.NoError(t, d.Reply(d.Data))
			switch d.Data[0] {
			case 'a':
				step(func() error { return c.SendTo([]byte("now"), sockettest.There) })
			case 'b':
				step(func() error { _, err := c.SendBatch([]udp.Message{one, one}); return err })
			case 'c':
				step(c.Flush)
			case 'd':
				assert.NoError(t, c.Enqueue(udp.Message{Data: []byte("more"), To: sockettest.There}))
				step(func() (err error) {
					elsewhere(func() { err = c.SendTo([]byte("now"), sockettest.There) })
					return err
				})
			case 'e':
				step(func() error { return c.SetWriteDeadline(time.Time{}) })
			}
		}))
		s.Inputs <- sockettest.Coalesced("abcdez")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, make([][]string, 5), kept)
		require.Equal(t, [][]string{{"a", "now"}, {"b", "now", "now"}, {"c"}, {"d", "more", "now"}, {"e"}}, sent)
	})
}

// batching reports whether several datagrams come with one read here.
func batching(t *testing.T) bool {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	require.NoError(t, err)
	defer sockettest.Stop(t, c)
	return c.Info().Batch > 1
}

func TestTheLastReplyOfAReadDoesNotWaitForItsHandler(t *testing.T) {
	replied, finish := make(chan error), make(chan struct{})
	server, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		replied <- d.Reply(d.Data)
		<-finish
	}))
	require.NoError(t, err)
	defer sockettest.Stop(t, server)
	client := plainClient(t, server)
	_, err = client.Write([]byte("now"))
	require.NoError(t, err)
	require.NoError(t, <-replied)
	require.NoError(t, client.SetReadDeadline(time.Now().Add(sockettest.Patience)))
	n, err := client.Read(make([]byte, 10))
	require.NoError(t, err, "the reply must have left although the handler still runs")
	require.Equal(t, 3, n)
	close(finish)
}

func TestRepliesDoNotWaitForAFullQueue(t *testing.T) {
	q := udp.NewQueue(1, udp.Block)
	server, entered, open := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply(d.Data); err != nil {
			t.Error(err)
		}
		q.Received(c, d)
	})
	client := plainClient(t, server)
	for i, s := range []string{"hold", "one", "two", "three", "four"} {
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	open()
	require.NoError(t, client.SetReadDeadline(time.Now().Add(sockettest.Patience)))
	b := make([]byte, 20)
	for _, want := range []string{"one", "two", "three", "four"} {
		n, err := client.Read(b)
		require.NoError(t, err)
		require.Equal(t, want, string(b[:n]))
		if want != "one" { // nobody has taken a datagram before the second was answered
			d := <-q.Datagrams()
			d.Release()
		}
	}
	sockettest.Stop(t, server)
}

func TestAReplyLeavesBeforeCloseInACallback(t *testing.T) {
	server, entered, open := held(t, udp.Config{}, func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply(d.Data); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	client := plainClient(t, server)
	for i, s := range []string{"hold", "replied", "too late"} {
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			<-entered
		}
	}
	open()
	b := make([]byte, 20)
	n, err := client.Read(b)
	require.NoError(t, err)
	require.Equal(t, "replied", string(b[:n]))
	<-server.Done()
	s := server.Stats()
	require.EqualValues(t, 1, s.Sent)
	require.EqualValues(t, 1, s.Dropped.Closed)
	require.Equal(t, s.Received, s.Handled+s.Dropped.Total())
}

// The error of one datagram is never another's. Those that are known late reach
// Stats, the Logger and OnSendError.
func TestLateErrorsAreReported(t *testing.T) {
	if !batching(t) {
		t.Skip("nothing is kept here")
	}
	var logged bytes.Buffer
	var mu sync.Mutex // OnSendError is called by the writer too
	late := map[netip.AddrPort]int{}
	cfg := udp.Config{
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		OnSendError: func(c *udp.Conn, to netip.AddrPort, err error) {
			mu.Lock()
			defer mu.Unlock()
			late[to]++
			assert.ErrorIs(t, err, os.ErrPermission)
			assert.Equal(t, to.String(), sockettest.RequireOpError(t, err, "send").Addr.String())
		},
	}
	var direct []string
	bad := sockettest.At("255.255.255.255", 9) // not allowed on this socket: EACCES when it leaves
	server, entered, open := held(t, cfg, func(c *udp.Conn, d udp.Datagram) {
		var err error
		if string(d.Data) == "bad" {
			err = c.Enqueue(udp.Message{Data: d.Data, To: bad})
		} else {
			err = d.Reply(d.Data)
		}
		if err != nil {
			direct = append(direct, string(d.Data))
		}
	})
	client := plainClient(t, server)
	// Whatever the reads are, those that fail are neither first nor last of theirs
	// alone: each of the five meets every place.
	var want []string
	for i := range 64 {
		s := "good"
		if i%5 == 2 {
			s = "bad"
		} else if i > 0 {
			want = append(want, s)
		}
		_, err := client.Write([]byte(s))
		require.NoError(t, err)
		if i == 0 {
			sockettest.Next(t, entered)
		}
	}
	open()
	b := make([]byte, 20)
	for range want {
		n, err := client.Read(b)
		require.NoError(t, err)
		require.Equal(t, "good", string(b[:n]))
	}
	require.NoError(t, server.Shutdown(t.Context()))
	require.NotContains(t, direct, "good", "what was sent was said to have failed")
	require.EqualValues(t, len(want), server.Stats().Sent)
	require.EqualValues(t, 13, server.Stats().SendErrors)
	require.EqualValues(t, 13, server.Stats().SendFailed.Denied)
	require.Equal(t, 13, late[bad]+len(direct), "each is returned, or passed to OnSendError")
	require.Positive(t, late[bad])
	require.Len(t, late, 1)
	require.Contains(t, logged.String(), "udp: send failed")
}

// OnSendError may use the socket: no lock is held.
func TestOnSendErrorMaySend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		s.OnSend = func(m socket.Message) error {
			if string(m.Data) == "bad" {
				return net.UnknownNetworkError("fails")
			}
			return nil
		}
		calls := 0
		cfg := udp.Config{OnSendError: func(c *udp.Conn, to netip.AddrPort, _ error) {
			calls++
			assert.NoError(t, c.SendTo([]byte("instead"), to))
			assert.NoError(t, c.Enqueue(udp.Message{Data: []byte("instead"), To: to}))
			assert.NoError(t, c.Flush())
		}}
		c := s.Listen(t, cfg, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if d.Data[0] != 'z' {
				assert.NoError(t, d.Reply([]byte("bad")))
			}
		}))
		s.Inputs <- sockettest.Coalesced("aaz")
		require.NoError(t, c.Shutdown(context.Background()))
		require.Equal(t, 2, calls)
		require.Equal(t, []string{"instead", "instead", "instead", "instead"}, s.TakeSent())
		require.EqualValues(t, 2, c.Stats().SendErrors)
	})
}

// Flush returns the first error, and Enqueue what is known at once.
func TestEnqueueAndFlushReturnErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		first, second := net.UnknownNetworkError("one"), net.UnknownNetworkError("two")
		s.OnSend = func(m socket.Message) error {
			switch string(m.Data) {
			case "1":
				return first
			case "2":
				return second
			}
			return nil
		}
		var late []error
		cfg := udp.Config{OnSendError: func(_ *udp.Conn, _ netip.AddrPort, err error) { late = append(late, err) }}
		var flushed error
		c := s.Listen(t, cfg, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			switch d.Data[0] {
			case 'z':
			case 'f':
				flushed = c.Flush()
			default:
				assert.NoError(t, d.Reply(d.Data))
			}
		}))
		s.Inputs <- sockettest.Coalesced("x12yfz")
		synctest.Wait()
		sockettest.RequireOpError(t, flushed, "send")
		require.ErrorIs(t, flushed, first)
		require.Len(t, late, 2)
		require.ErrorIs(t, late[0], first)
		require.ErrorIs(t, late[1], second)
		require.NoError(t, c.Flush(), "again")

		for _, m := range []udp.Message{
			{},
			{To: netip.MustParseAddrPort("192.0.2.9:0")},
			{To: netip.MustParseAddrPort("[2001:db8::1]:9")},
			{To: sockettest.There, Data: make([]byte, 65508)},
			{To: sockettest.There, From: netip.IPv6Loopback()},
		} {
			sockettest.RequireOpError(t, c.Enqueue(m), "send")
		}
		require.EqualValues(t, 5+2, c.Stats().SendErrors)
		sockettest.Stop(t, c)
		require.ErrorIs(t, c.Enqueue(udp.Message{To: sockettest.There}), net.ErrClosed)
		require.NoError(t, c.Flush())
		require.Len(t, late, 2)
	})
}

// full is a system without room until it is opened.
type full struct {
	*sockettest.Scripted
	open atomic.Bool
}

func newFull() *full {
	f := &full{Scripted: sockettest.NewScripted()}
	f.OnSend = func(socket.Message) error {
		if f.open.Load() {
			return nil
		}
		return os.NewSyscallError("sendmsg", sys.EAGAIN)
	}
	return f
}

// The reader does not sleep in a send: what finds no room at the end of a read is
// sent by the writer, in order.
func TestTheReaderLeavesToTheWriterWhatFindsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFull()
		start, took := time.Now(), map[string]time.Duration{}
		c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			took[string(d.Data)] = time.Since(start)
			if d.Data[0] != 'z' {
				assert.NoError(t, d.Reply(d.Data))
			}
		}))
		s.Inputs <- sockettest.Coalesced("abcz")
		s.Inputs <- sockettest.Coalesced("defz")
		synctest.Wait()
		require.Equal(t, map[string]time.Duration{"a": 0, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0, "z": 0}, took)
		require.Empty(t, s.TakeSent())
		time.Sleep(20 * time.Millisecond)
		s.open.Store(true)
		time.Sleep(50 * time.Millisecond) // the writer's pauses double, up to 32 ms
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, s.TakeSent())
		sockettest.Stop(t, c)
		require.Zero(t, c.Stats().SendErrors)
	})
}

// A full outbox makes the caller wait, and nothing is lost.
func TestAFullOutboxMakesTheCallerWait(t *testing.T) {
	for _, way := range []string{"Reply", "Enqueue"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 3000 // of which 1,024 fit
				s := newFull()
				var waited time.Duration
				c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
					start := time.Now()
					var err error
					if way == "Reply" {
						err = d.Reply(d.Data)
					} else {
						err = c.Enqueue(udp.Message{Data: d.Data, To: d.From})
					}
					if err != nil {
						t.Error(err)
					}
					waited = max(waited, time.Since(start))
				}))
				time.AfterFunc(100*time.Millisecond, func() { s.open.Store(true) })
				data := make([]byte, 0, n)
				for i := range n {
					data = append(data, byte('a'+i%26))
				}
				s.Inputs <- sockettest.Coalesced(string(data))
				require.NoError(t, c.Shutdown(context.Background()))
				require.GreaterOrEqual(t, waited, 99*time.Millisecond)
				require.Equal(t, string(data), strings.Join(s.TakeSent(), ""))
				require.Zero(t, c.Stats().SendErrors)
			})
		})
	}
}

// When a socket closes, each reply that was kept is sent, or counted and reported.
func TestEachPendingReplyIsSentOrCounted(t *testing.T) {
	for _, room := range []bool{true, false} {
		for _, how := range []string{"Close in the callback", "Close", "Shutdown cut short", "Goexit"} {
			t.Run(fmt.Sprintf("%s, room %v", how, room), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newFull()
					s.open.Store(room)
					late := 0
					cfg := udp.Config{OnSendError: func(_ *udp.Conn, _ netip.AddrPort, err error) {
						late++
						assert.ErrorIs(t, err, net.ErrClosed)
					}}
					release, open := sockettest.NewGate()
					defer open()
					c := s.Listen(t, cfg, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
						if d.Data[0] != 'e' {
							assert.NoError(t, d.Reply(d.Data))
							return
						}
						switch how {
						case "Close in the callback":
							c.Close()
						case "Goexit":
							runtime.Goexit()
						default:
							<-release
						}
					}))
					s.Inputs <- sockettest.Coalesced("abcdez")
					synctest.Wait()
					switch how {
					case "Close":
						require.NoError(t, c.Close())
					case "Shutdown cut short":
						require.ErrorIs(t, c.Shutdown(sockettest.Canceled()), context.Canceled)
					}
					open()
					sockettest.Next(t, c.Done())
					st := c.Stats()
					sockettest.CountersAgree(t, st)
					require.EqualValues(t, 4, st.Sent+st.SendErrors, "%+v", st)
					require.EqualValues(t, late, st.SendErrors)
					if room {
						require.Equal(t, []string{"a", "b", "c", "d"}, s.TakeSent())
					} else {
						require.EqualValues(t, 4, st.SendFailed.Closed)
					}
				})
			})
		}
	}
}

// However sends of all kinds race Close, each is sent, or returns an error, or is
// reported late.
func TestCloseAgainstTheOutbox(t *testing.T) {
	for round := range 20 {
		sink := sockettest.ListenNet(t, "udp4")
		to := sockettest.AddrPort(sink)
		var late atomic.Uint64
		cfg := udp.Config{OnSendError: func(*udp.Conn, netip.AddrPort, error) { late.Add(1) }}
		var calls, failed atomic.Uint64
		count := func(err error) {
			if calls.Add(1); err != nil {
				failed.Add(1)
				assert.ErrorIs(t, err, net.ErrClosed)
			}
		}
		reply := func(d udp.Datagram) { count(d.Reply(d.Data)) }
		q := udp.NewQueue(100, udp.Block)
		c, err := cfg.Listen(t.Context(), "udp4", "127.0.0.1:0", &wrapper{Handler: q, received: func(c *udp.Conn, d udp.Datagram) {
			reply(d)
			q.Received(c, d)
		}})
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			for d := range q.Datagrams() {
				reply(d)
				d.Release()
			}
		})
		client := sockettest.Dial(t, c.LocalAddrPort(), udp.BaseHandler{})
		wg.Go(func() { sendAll(t, client, 500) })
		m := udp.Message{Data: []byte("x"), To: to}
		for range 4 {
			wg.Go(func() {
				for range 50 {
					count(c.Enqueue(m))
					count(c.SendTo([]byte("x"), to))
					c.Flush()
				}
			})
		}
		for range round * 10 {
			runtime.Gosched()
		}
		wg.Go(func() { c.Close() })
		wg.Wait()
		sockettest.Next(t, c.Done())
		s := c.Stats()
		sockettest.CountersAgree(t, s)
		require.Equal(t, calls.Load(), s.Sent+s.SendErrors, "%+v", s)
		require.Equal(t, s.SendErrors, failed.Load()+late.Load(), "%+v", s)
	}
}

// cutShort is a scripted network whose second send waits for room until the deadline.
type cutShort struct {
	*sockettest.Scripted
	batches atomic.Int32
	cut     chan struct{}
}

func (s *cutShort) SendBatch(ms []socket.Message, wait bool) (int, error) {
	if s.batches.Add(1) == 2 {
		<-s.cut
		return 0, os.ErrDeadlineExceeded
	}
	return s.Scripted.SendBatch(ms, wait)
}

// Open implements socket.Network.
func (s *cutShort) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}

// A send of the writer that the end of the socket cuts short is made again before the
// socket closes: nothing of the outbox is lost. Close ends sends with a deadline.
func TestTheEndMakesSendsAgain(t *testing.T) {
	for name, end := range map[string]func(*udp.Conn){
		"Close":    func(c *udp.Conn) { _ = c.Close() },
		"Shutdown": func(c *udp.Conn) { _ = c.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &cutShort{Scripted: sockettest.NewScripted(), cut: make(chan struct{})}
				c, err := udp.Config{Network: s}.Listen(t.Context(), "udp4", sockettest.Here.String(), udp.BaseHandler{})
				require.NoError(t, err)
				for _, m := range []string{"first", "the writer's", "the next"} {
					require.NoError(t, c.Enqueue(udp.Message{Data: []byte(m), To: sockettest.There}))
				}
				synctest.Wait()
				go end(c)
				synctest.Wait() // for the writer
				close(s.cut)
				<-c.Done()
				require.Equal(t, []string{"first", "the writer's", "the next"}, s.TakeSent())
				require.Zero(t, c.Stats().SendErrors)
			})
		})
	}
}

// No reply waits a millisecond for the handlers of other datagrams; and none waits at
// all, but for a processor, once it is known that each handler takes long: when the
// writer has sent one alone.
func TestAReplyDoesNotWaitForOtherHandlers(t *testing.T) {
	const n, each = 65, 5 * time.Millisecond
	data := strings.Repeat("x", n)
	for name, start := range map[string]func(t *testing.T, s *sockettest.Scripted, handle func(udp.Datagram)) (c *udp.Conn, wait func()){
		"Handler": func(t *testing.T, s *sockettest.Scripted, handle func(udp.Datagram)) (*udp.Conn, func()) {
			return s.Listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) })), func() {}
		},
		"Queue": func(t *testing.T, s *sockettest.Scripted, handle func(udp.Datagram)) (*udp.Conn, func()) {
			q := udp.NewQueue(n, udp.Block)
			var consumer sync.WaitGroup
			consumer.Go(func() {
				for d := range q.Datagrams() {
					handle(d)
					d.Release()
				}
			})
			return s.Listen(t, udp.Config{}, q), consumer.Wait
		},
		"Workers": func(t *testing.T, s *sockettest.Scripted, handle func(udp.Datagram)) (*udp.Conn, func()) {
			return s.Listen(t, udp.Config{}, sockettest.NewWorkers(t, udp.WorkersConfig{N: 1,
				Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { handle(d) })})), func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sockettest.NewScripted()
				var mu sync.Mutex
				var replied, sent []time.Time
				s.OnSend = func(socket.Message) error {
					mu.Lock()
					defer mu.Unlock()
					sent = append(sent, time.Now())
					return nil
				}
				c, wait := start(t, s, func(d udp.Datagram) {
					mu.Lock()
					replied = append(replied, time.Now())
					mu.Unlock()
					assert.NoError(t, d.Reply(d.Data))
					time.Sleep(each)
				})
				s.Inputs <- sockettest.Coalesced(data)
				time.Sleep((n + 1) * each)
				require.NoError(t, c.Shutdown(context.Background()))
				wait()
				require.Len(t, sent, n)
				for i := range n {
					most := time.Duration(0)
					if i < 2 { // the reader may have sent the first one when its read was done
						most = time.Millisecond
					}
					require.LessOrEqual(t, sent[i].Sub(replied[i]), most, "reply %d", i)
				}
			})
		})
	}
}

// A consumer that finds its Queue empty sends what it has replied; one that only
// looks at the channel has the writer for that.
func TestAConsumersRepliesLeaveWhenNothingWaits(t *testing.T) {
	for name, test := range map[string]struct {
		consume func(q *udp.Queue, handle func(udp.Datagram))
		within  time.Duration
	}{
		"Receive": {func(q *udp.Queue, handle func(udp.Datagram)) {
			for {
				d, err := q.Receive(context.Background())
				if err != nil {
					return
				}
				handle(d)
			}
		}, 0},
		"All": {func(q *udp.Queue, handle func(udp.Datagram)) {
			for d := range q.All(context.Background()) {
				handle(d)
			}
		}, 0},
		"Datagrams": {func(q *udp.Queue, handle func(udp.Datagram)) {
			for d := range q.Datagrams() {
				handle(d)
			}
		}, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.Block)
				c := s.Listen(t, udp.Config{}, q)
				s.Inputs <- sockettest.Coalesced("abcz")
				synctest.Wait()
				require.Equal(t, 4, q.Stats().Waiting)
				go test.consume(q, func(d udp.Datagram) {
					if d.Data[0] != 'z' { // whose reply would take the others along
						assert.NoError(t, d.Reply(d.Data))
					}
					d.Release()
				})
				synctest.Wait()
				time.Sleep(test.within)
				synctest.Wait()
				require.Equal(t, []string{"a", "b", "c"}, s.TakeSent())
				sockettest.Stop(t, c)
			})
		})
	}
}

// The writer is there while it is needed, and no longer.
func TestTheWriterEndsWithoutWork(t *testing.T) {
	writers := func() int {
		b := make([]byte, 1<<20)
		return strings.Count(string(b[:runtime.Stack(b, true)]), "(*Outbox).write(")
	}
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { assert.NoError(t, d.Reply(d.Data)) }))
		require.Zero(t, writers())
		for range 2 {
			s.Inputs <- sockettest.Coalesced("ab")
			synctest.Wait()
			require.Equal(t, 1, writers())
			time.Sleep(time.Second)
			require.Zero(t, writers())
			require.Equal(t, []string{"a", "b"}, s.TakeSent())
		}
		sockettest.Stop(t, c)
	})
}
