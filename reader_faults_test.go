//go:build unix

package udp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/sockettest"
)

// readFaults are the errors that a reader survives.
var readFaults = []struct {
	name      string
	err       error
	report    bool // on a connected socket it is an ICMP message
	temporary bool // says nothing at all
}{
	{"no buffers", sockettest.SysError(syscall.ENOBUFS), false, false},
	{"no memory", sockettest.SysError(syscall.ENOMEM), false, false},
	{"network down", sockettest.SysError(syscall.ENETDOWN), false, false},
	{"firewall", sockettest.SysError(syscall.EPERM), false, false},
	{"address gone", sockettest.SysError(syscall.EADDRNOTAVAIL), false, false},
	{"device gone", sockettest.SysError(syscall.ENODEV), false, false},
	{"device not configured", sockettest.SysError(syscall.ENXIO), false, false},
	{"an errno that nobody has thought of", sockettest.SysError(syscall.EXDEV), false, false},
	{"an error that is no errno", errors.New("out of order"), false, false},
	{"a deadline that nobody has set", os.ErrDeadlineExceeded, false, false},
	{"refused", sockettest.SysError(syscall.ECONNREFUSED), true, false},
	{"host unreachable", sockettest.SysError(syscall.EHOSTUNREACH), true, false},
	{"network unreachable", sockettest.SysError(syscall.ENETUNREACH), true, false},
	{"prohibited", sockettest.SysError(syscall.EACCES), true, false},
	{"protocol unreachable", sockettest.SysError(syscall.ENOPROTOOPT), true, false},
	{"packet too big", sockettest.SysError(syscall.EMSGSIZE), true, false},
	{"parameter problem", sockettest.SysError(syscall.EPROTO), true, false},
	{"source route failed", sockettest.SysError(syscall.EOPNOTSUPP), true, false},
	{"host unknown", sockettest.SysError(syscall.EHOSTDOWN), true, false},
	{"interrupted", sockettest.SysError(syscall.EINTR), false, true},
	{"try again", sockettest.SysError(syscall.EAGAIN), false, true},
}

// Twisted: C6 C7 R3 test_udp_internals.test_socketReadNormal
// test_udp_internals.test_readImmediateError
// test_udp_internals.test_readUnknownError
func TestAReaderSurvivesEveryErrorAmongDatagrams(t *testing.T) {
	for _, f := range readFaults {
		for _, connected := range []bool{false, true} {
			name := f.name
			if connected {
				name += ", connected"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const times = 50
					s, h := sockettest.NewScripted(), sockettest.NewRecorder()
					var c *udp.Conn
					if connected {
						c = s.Dial(t, udp.Config{}, h).Conn
					} else {
						c = s.Listen(t, udp.Config{}, h)
					}
					h.Next(t, "Started")
					for i := range times {
						s.Arrive("before", strconv.Itoa(i))
						s.Fail(f.err)
					}
					s.Arrive("last")
					received, refused := 0, 0
					for last := false; !last; {
						select {
						case e := <-h.Events:
							switch e.Name {
							case "Received":
								received++
								last = e.Data == "last"
							case "Refused":
								refused++
								require.Equal(t, sockettest.There, e.Refusal.Peer)
								require.ErrorIs(t, e.Refusal, udp.ErrRefused)
							}
						case <-time.After(time.Hour): // of the bubble
							require.FailNow(t, "the reader is stuck")
						}
					}
					sockettest.Stop(t, c)
					h.Next(t, "Stopped")
					require.Equal(t, 2*times+1, received)
					st := c.Stats()
					sockettest.CountersAgree(t, st)
					switch {
					case f.temporary:
						require.Zero(t, st.ReadErrors)
					case f.report && connected:
						require.Equal(t, times, refused)
						require.EqualValues(t, times, st.Refused)
						require.Zero(t, st.ReadErrors)
					default:
						require.Zero(t, refused)
						require.EqualValues(t, times, st.ReadErrors)
					}
				})
			})
		}
	}
}

// An error that comes for ever costs next to nothing, and what comes after it is
// still read.
//
// Twisted: R3
func TestAReaderNeverSpins(t *testing.T) {
	for _, f := range readFaults {
		for _, connected := range []bool{false, true} {
			name := f.name
			if connected {
				name += ", connected"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, q := sockettest.NewScripted(), udp.NewQueue(10, udp.DropNewest)
					var c *udp.Conn
					if connected {
						c = s.Dial(t, udp.Config{}, q).Conn
					} else {
						c = s.Listen(t, udp.Config{}, q)
					}
					s.SetStuck(f.err)
					time.Sleep(10 * time.Second)
					n := s.ReadCalls.Load()
					require.Positive(t, n)
					if f.temporary || f.report && connected {
						require.LessOrEqual(t, n, int64(10_100), "a thousand times a second")
					} else {
						require.LessOrEqual(t, n, int64(21), "once a second, after ten quicker ones")
					}
					s.SetStuck(nil)
					s.Arrive("alive")
					require.Equal(t, "alive", string((<-q.Datagrams()).Data))

					s.SetStuck(f.err)
					time.Sleep(10 * time.Second)
					start := time.Now()
					sockettest.Stop(t, c)
					require.Zero(t, time.Since(start), "Close does not wait for a back-off")
					sockettest.CountersAgree(t, c.Stats())
				})
			})
		}
	}
}

func TestOnlyAClosedSocketEndsAReader(t *testing.T) {
	for _, err := range []error{net.ErrClosed, sockettest.SysError(syscall.EBADF)} {
		t.Run(err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, h := sockettest.NewScripted(), sockettest.NewRecorder()
				c := s.Listen(t, udp.Config{}, h)
				h.Next(t, "Started")
				s.Fail(err)
				e := h.Next(t, "Stopped")
				require.ErrorIs(t, e.Err, err)
				sockettest.RequireOpError(t, e.Err, "read")
				<-c.Done()
				require.EqualValues(t, 1, s.CloseCalls.Load())
				require.ErrorIs(t, c.SendTo(nil, sockettest.There), net.ErrClosed)
			})
		})
	}
}

// A flood of errors and of panics writes one record a second of each kind, and
// the records say how many others there were.
func TestAFloodDoesNotBreakTheLogsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := sockettest.NewScripted()
		c := s.Dial(t, udp.Config{Logger: slog.New(slog.NewJSONHandler(&out, nil))},
			udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
				time.Sleep(10 * time.Millisecond)
				panic("again")
			}))
		const panics = 1000 // ten seconds
		for range panics / 10 {
			s.Arrive("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
			s.Fail(sockettest.SysError(syscall.ENOBUFS), sockettest.SysError(syscall.EPERM))
		}
		time.Sleep(time.Minute)
		// One more of each kind, to hear of those that were left out.
		s.Arrive("last")
		s.Fail(sockettest.SysError(syscall.ENOBUFS), sockettest.SysError(syscall.EPERM))
		time.Sleep(time.Minute)
		sockettest.Stop(t, c)
		st := c.Stats()
		sockettest.CountersAgree(t, st)
		require.EqualValues(t, panics+1, st.Dropped.Panicked)
		require.EqualValues(t, panics+1, st.Panics)

		records, reported := map[string]int{}, map[string]int{}
		for d := json.NewDecoder(&out); d.More(); {
			var r struct {
				Msg, Error, Panic, Stack string
				Omitted                  int
			}
			require.NoError(t, d.Decode(&r))
			kind := r.Msg + " " + r.Error
			records[kind]++
			reported[kind] += 1 + r.Omitted
			if r.Panic != "" {
				require.Equal(t, "again", r.Panic)
				require.Contains(t, r.Stack, "reader_faults_test.go", "the stack is that of the panic")
			}
		}
		require.Len(t, records, 3)
		for kind, n := range records {
			require.LessOrEqual(t, n, 13, "%q in eleven seconds", kind)
			want := panics/10 + 1
			if kind == "udp: panic in Received " {
				want = panics + 1
			}
			require.Equal(t, want, reported[kind], "%q: written and left out are all there were", kind)
		}
	})
}

// panickyLog is a slog.Handler that can't do it.
type panickyLog struct{ slog.Handler }

func (panickyLog) Enabled(context.Context, slog.Level) bool  { return true }
func (panickyLog) Handle(context.Context, slog.Record) error { panic("out of paper") }

// A Logger that panics ends neither the socket's goroutine nor that of Workers or
// of a sender.
func TestALoggerThatPanicsIsSurvived(t *testing.T) {
	for name, h := range map[string]udp.Handler{
		"a handler": udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { panic("as I was told") }),
		"Workers":   sockettest.NewWorkers(t, udp.WorkersConfig{N: 1, Handler: udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { panic("as I was told") })}),
	} {
		t.Run(name, func(t *testing.T) {
			s := sockettest.NewScripted()
			s.Fail(sockettest.SysError(syscall.ENETDOWN))
			s.Arrive("1", "2")
			c := s.Listen(t, udp.Config{Logger: slog.New(panickyLog{})}, h)
			require.NoError(t, c.Shutdown(t.Context()))
			st := c.Stats()
			require.Equal(t, udp.Drops{Panicked: 2}, st.Dropped)
			require.EqualValues(t, 1, st.ReadErrors)
			require.EqualValues(t, 2+2, st.Panics, "a second record of a kind is left out")
		})
	}
}

// Coalesced packets, of whose segments some panic, some are too long and some come from
// unexpected sources: all are counted, and the others are handled in order.
func TestACoalescedPacketIsCountedToTheLastDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const segment = 4
		r := rand.New(rand.NewPCG(1, 2))
		var handled, want []string
		s := sockettest.NewScripted()
		c := s.Dial(t, udp.Config{MaxDatagram: 100}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			if d.Data[0] == 'p' {
				panic("as I was told")
			}
			handled = append(handled, string(d.Data))
		}))
		var panicked, unexpected, truncated, total uint64
		for read := range 200 {
			var one []string
			foreign, long := read%7 == 3, read%11 == 5
			for i := range 1 + r.IntN(60) {
				d := strconv.Itoa(1000 + i)
				if r.IntN(5) == 0 {
					d = "p" + d[1:]
				}
				one = append(one, d)
			}
			if r.IntN(2) == 0 {
				one[len(one)-1] = one[len(one)-1][:2] // the last of a coalesced packet may be shorter
			}
			total += uint64(len(one))
			packet := []byte{}
			for _, d := range one {
				packet = append(packet, d...)
				switch {
				case foreign:
				case d[0] == 'p':
					panicked++
				default:
					want = append(want, d)
				}
			}
			in := sockettest.Packets(string(packet))
			in[0].Segment = segment
			if foreign {
				in[0].From = sockettest.Here
				unexpected += uint64(len(one))
			}
			if long {
				in = append(sockettest.Packets(string(make([]byte, 101))), in...)
				total++
				truncated++
			}
			s.Inputs <- in
			synctest.Wait()
		}
		sockettest.Stop(t, c)
		require.Equal(t, want, handled)
		st := c.Stats()
		sockettest.CountersAgree(t, st)
		require.Equal(t, total, st.Received)
		require.Equal(t, udp.Drops{Panicked: panicked, Stranger: unexpected, Truncated: truncated}, st.Dropped)
		require.Equal(t, panicked, st.Panics)
	})
}

// runtime.Goexit, which t.FailNow is made of, ends the socket's goroutine: that
// can't be survived, so the socket is closed in order.
func TestGoexitInTheMiddleOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := sockettest.NewScripted(), sockettest.NewRecorder()
		h.OnReceived = func(_ *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "three" {
				runtime.Goexit()
			}
		}
		s.Arrive("one", "two", "three", "four", "five")
		s.Arrive("six")
		c := s.Listen(t, udp.Config{}, h)
		<-c.Done()
		require.Equal(t, []string{"Started", "Received", "Received", "Received", "Stopped"}, h.Names())
		st := c.Stats()
		sockettest.CountersAgree(t, st)
		require.Equal(t, udp.Drops{Panicked: 1, Closed: 3}, st.Dropped)
		require.EqualValues(t, 2, st.Handled)
	})
}
