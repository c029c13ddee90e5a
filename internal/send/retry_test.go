//go:build unix

package send_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sockettest"
)

// sends makes the nth send, counted from 0, meet the nth error, if there is one.
func sends(errs ...error) func(socket.Message) error {
	return func(socket.Message) (err error) {
		if len(errs) > 0 {
			err, errs = errs[0], errs[1:]
		}
		return err
	}
}

// Twisted: C6
func TestSendsThatMeetOlderErrorsOrPassingOnesAreRepeated(t *testing.T) {
	refused, full := sockettest.SysError(syscall.ECONNREFUSED), sockettest.SysError(syscall.ENOBUFS)
	for _, test := range []struct {
		name              string
		connected         bool
		errs              []error
		tries             int64
		retried, refusals int
		took              time.Duration
	}{
		{name: "nothing is wrong", tries: 1},
		{name: "an older one was refused", connected: true, errs: []error{refused}, tries: 2, retried: 1, refusals: 1},
		{name: "64 older ones were refused", connected: true, errs: slices.Repeat([]error{refused}, 64),
			tries: 65, retried: 64, refusals: 64},
		{name: "an older one's host was unreachable", connected: true, errs: []error{sockettest.SysError(syscall.EHOSTUNREACH)},
			tries: 2, retried: 1, refusals: 1},
		{name: "an older one was too big for the path", connected: true, errs: []error{sockettest.SysError(syscall.EMSGSIZE)},
			tries: 2, retried: 1, refusals: 1},
		{name: "an older one had a bad parameter", connected: true, errs: []error{sockettest.SysError(syscall.EPROTO)},
			tries: 2, retried: 1, refusals: 1},
		{name: "an older one's source route failed", connected: true, errs: []error{sockettest.SysError(syscall.EOPNOTSUPP)},
			tries: 2, retried: 1, refusals: 1},
		{name: "an older one's host was unknown", connected: true, errs: []error{sockettest.SysError(syscall.EHOSTDOWN)},
			tries: 2, retried: 1, refusals: 1},
		{name: "the first send of a fresh socket is denied", errs: []error{sockettest.SysError(syscall.EPERM)}, tries: 2, retried: 1},
		{name: "a signal", errs: []error{sockettest.SysError(syscall.EINTR)}, tries: 2, took: time.Millisecond},
		{name: "no room for a while", errs: slices.Repeat([]error{sockettest.SysError(syscall.EAGAIN)}, 10),
			tries: 11, took: (1 + 1 + 2 + 4 + 8 + 16 + 32 + 32 + 32 + 32) * time.Millisecond},
		{name: "no buffers for a while", errs: slices.Repeat([]error{full}, 6),
			tries: 7, took: (1 + 1 + 2 + 4 + 8 + 16) * time.Millisecond},
		{name: "everything at once", connected: true,
			errs:  []error{refused, full, sockettest.SysError(syscall.EINTR), sockettest.SysError(syscall.EHOSTUNREACH), refused},
			tries: 6, retried: 3, refusals: 2, took: 2 * time.Millisecond},
	} {
		for _, batch := range []bool{false, true} {
			name := test.name
			if batch {
				name += ", in a batch"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, h := sockettest.NewScripted(), sockettest.NewRecorder()
					var c *udp.Conn
					if test.connected {
						c = s.Dial(t, udp.Config{}, h).Conn
					} else {
						c = s.Listen(t, udp.Config{}, h)
					}
					h.Next(t, "Started")
					s.OnSend = sends(test.errs...)
					start := time.Now()
					if batch {
						n, err := c.SendBatch([]udp.Message{{Data: []byte("a"), To: sockettest.There}, {Data: []byte("b"), To: sockettest.There}})
						require.NoError(t, err)
						require.Equal(t, 2, n)
						require.Equal(t, []string{"a", "b"}, s.SentData)
						test.tries++
					} else {
						require.NoError(t, c.SendTo([]byte("a"), sockettest.There))
						require.Equal(t, []string{"a"}, s.SentData)
					}
					require.Equal(t, test.took, time.Since(start))
					require.Equal(t, test.tries, s.SendCalls.Load())
					for range test.refusals {
						require.Equal(t, sockettest.There, h.Next(t, "Refused").Refusal.Peer)
					}
					sockettest.Stop(t, c)
					require.Equal(t, []string{"Stopped"}, h.Names())
					st := c.Stats()
					sockettest.CountersAgree(t, st)
					require.Zero(t, st.SendErrors)
					require.EqualValues(t, test.retried, st.Retried)
					require.EqualValues(t, test.refusals, st.Refused)
					require.EqualValues(t, len(s.SentData), st.Sent)
				})
			})
		}
	}
}

func TestSendsThatCannotSucceedFailAndAreCountedByTheReason(t *testing.T) {
	for _, test := range []struct {
		name      string
		connected bool
		errno     syscall.Errno
		is        error
		counted   udp.SendFailures
		took      time.Duration
	}{
		{"no route", false, syscall.ENETUNREACH, syscall.ENETUNREACH, udp.SendFailures{Unreachable: 1}, 0},
		{"no route, connected", true, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, udp.SendFailures{Unreachable: 1}, 0},
		{"the interface is down", false, syscall.ENETDOWN, syscall.ENETDOWN, udp.SendFailures{Unreachable: 1}, 0},
		{"the source address is gone", false, syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, udp.SendFailures{Unreachable: 1}, 0},
		{"the device is gone", false, syscall.ENODEV, syscall.ENODEV, udp.SendFailures{Unreachable: 1}, 0},
		{"the device is not configured", false, syscall.ENXIO, syscall.ENXIO, udp.SendFailures{Unreachable: 1}, 0},
		{"not supported", false, syscall.EOPNOTSUPP, syscall.EOPNOTSUPP, udp.SendFailures{Unreachable: 1}, 0},
		{"a protocol error", true, syscall.EPROTO, syscall.EPROTO, udp.SendFailures{Unreachable: 1}, 0},
		{"host down without end", true, syscall.EHOSTDOWN, syscall.EHOSTDOWN, udp.SendFailures{Unreachable: 1}, 15 * time.Millisecond},
		{"a firewall drops it", false, syscall.EPERM, os.ErrPermission, udp.SendFailures{Denied: 1}, 0},
		{"broadcast is not allowed", false, syscall.EACCES, os.ErrPermission, udp.SendFailures{Denied: 1}, 0},
		{"too long", false, syscall.EMSGSIZE, udp.ErrTooLarge, udp.SendFailures{TooLarge: 1}, 0},
		{"too long, connected", true, syscall.EMSGSIZE, syscall.EMSGSIZE, udp.SendFailures{TooLarge: 1}, 0},
		{"no buffers for ever", false, syscall.ENOBUFS, syscall.ENOBUFS, udp.SendFailures{NoBuffers: 1}, 1024 * time.Millisecond},
		{"no memory for ever", false, syscall.ENOMEM, syscall.ENOMEM, udp.SendFailures{NoBuffers: 1}, 1024 * time.Millisecond},
		{"nothing known", false, syscall.EINVAL, syscall.EINVAL, udp.SendFailures{Other: 1}, 0},
		{"the descriptor is gone", false, syscall.EBADF, syscall.EBADF, udp.SendFailures{Closed: 1}, 0},
		{"refused without end", true, syscall.ECONNREFUSED, syscall.ECONNREFUSED, udp.SendFailures{Unreachable: 1}, 15 * time.Millisecond},
		{"too long, while ICMP messages wait", true, syscall.EMSGSIZE, udp.ErrTooLarge, udp.SendFailures{TooLarge: 1}, 0},
		{"no route, while ICMP messages wait", false, syscall.ENETUNREACH, syscall.ENETUNREACH, udp.SendFailures{Unreachable: 1}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sockettest.NewScripted()
				s.PathMTU = 30 // so that three bytes are too many
				s.AlwaysReported = strings.HasSuffix(test.name, "messages wait")
				var c *udp.Conn
				if test.connected {
					c = s.Dial(t, udp.Config{}, udp.BaseHandler{}).Conn
				} else {
					c = s.Listen(t, udp.Config{}, udp.BaseHandler{})
				}
				s.OnSend = func(m socket.Message) error {
					if string(m.Data) == "bad" {
						return sockettest.SysError(test.errno)
					}
					return nil
				}
				start := time.Now()
				n, err := c.SendBatch([]udp.Message{
					{Data: []byte("one"), To: sockettest.There}, {Data: []byte("bad"), To: sockettest.There}, {Data: []byte("two"), To: sockettest.There}})
				require.ErrorIs(t, err, test.is)
				require.Equal(t, sockettest.There.String(), sockettest.RequireOpError(t, err, "send").Addr.String())
				var failed *udp.BatchError
				require.ErrorAs(t, err, &failed)
				require.Len(t, failed.Failed, 1)
				require.Equal(t, 1, failed.Failed[0].Index)
				want := []string{"one", "two", "next"} // it goes on after what cannot be sent
				if test.counted == (udp.SendFailures{Closed: 1}) || test.counted == (udp.SendFailures{Deadline: 1}) {
					want = []string{"one", "next"}
				}
				require.Equal(t, len(want)-1, n)
				require.Equal(t, 3-len(want), failed.Untried)
				require.Equal(t, test.took, time.Since(start))
				require.Less(t, s.SendCalls.Load(), int64(1100), "no send is repeated for ever")
				if size, ok := errors.AsType[*udp.SizeError](err); ok {
					require.Equal(t, udp.SizeError{Size: 3, Max: 2, MTU: 30}, *size)
				}
				require.NoError(t, c.SendTo([]byte("next"), sockettest.There), "the socket goes on")
				sockettest.Stop(t, c)
				st := c.Stats()
				sockettest.CountersAgree(t, st)
				require.Equal(t, test.counted, st.SendFailed)
				require.EqualValues(t, len(want), st.Sent)
				require.Equal(t, want, s.SentData)
			})
		})
	}
}

// What the system can't take for ever ends at the write deadline, or with Close.
//
// Twisted: W6
func TestSendsNeverWedge(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS} {
		t.Run("deadline, "+errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
				s.OnSend = sockettest.Always(sockettest.SysError(errno))
				start := time.Now()
				require.NoError(t, c.SetWriteDeadline(start.Add(50*time.Millisecond)))
				err := c.SendTo([]byte("a"), sockettest.There)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Equal(t, 50*time.Millisecond, time.Since(start))
				require.Less(t, s.SendCalls.Load(), int64(20))
				sockettest.Stop(t, c)
				require.Equal(t, udp.SendFailures{Deadline: 1}, c.Stats().SendFailed)
			})
		})
		t.Run("Close, "+errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sockettest.NewScripted()
				c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
				s.OnSend = sockettest.Always(sockettest.SysError(errno))
				sent := make(chan error, 1)
				go func() { sent <- c.SendTo([]byte("a"), sockettest.There) }()
				time.Sleep(40 * time.Millisecond)
				start := time.Now()
				sockettest.Stop(t, c)
				require.ErrorIs(t, <-sent, net.ErrClosed)
				require.Zero(t, time.Since(start))
				require.Equal(t, udp.SendFailures{Closed: 1}, c.Stats().SendFailed)
			})
		})
	}
}

// An error that nobody knows is a datagram's own, unless an ICMP message waits.
func TestUnknownErrorsAreRepeatedWhileMessagesWait(t *testing.T) {
	for _, reported := range []bool{false, true} {
		s := sockettest.NewScripted()
		s.AlwaysReported = reported
		c := s.Dial(t, udp.Config{}, udp.BaseHandler{})
		s.OnSend = sends(sockettest.SysError(syscall.EXDEV))
		err := c.Send([]byte("a"))
		if reported {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, syscall.EXDEV)
		}
		sockettest.Stop(t, c)
		require.Zero(t, c.Stats().Refused)
	}
}

// SetWriteDeadline beside Close does not let a send wait that Close has ended.
func TestAWriteDeadlineBesideCloseStaysInThePast(t *testing.T) {
	s := &deadlines{Scripted: sockettest.NewScripted(), entered: make(chan struct{}), leave: make(chan struct{})}
	c, err := udp.Config{Network: s}.Listen(t.Context(), "udp4", sockettest.Here.String(), udp.BaseHandler{})
	require.NoError(t, err)
	var setter sync.WaitGroup
	setter.Go(func() { c.SetWriteDeadline(time.Time{}) })
	sockettest.Next(t, s.entered)
	sockettest.Stop(t, c)
	close(s.leave)
	setter.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.True(t, !s.last.IsZero() && s.last.Before(time.Now()), "%v", s.last)
	require.ErrorIs(t, c.SetWriteDeadline(time.Time{}), net.ErrClosed)
}

// A write deadline that is set while a send waits to be repeated ends that wait.
func TestAWriteDeadlineReachesASendThatIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sockettest.NewScripted()
		c := s.Listen(t, udp.Config{}, udp.BaseHandler{})
		s.OnSend = sockettest.Always(sockettest.SysError(syscall.EAGAIN))
		sent := make(chan error, 1)
		go func() { sent <- c.SendTo([]byte("a"), sockettest.There) }()
		time.Sleep(200 * time.Millisecond) // in a pause of 64
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Hour)), "nobody has to have waited for the first")
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		require.NoError(t, c.SetWriteDeadline(start))
		require.ErrorIs(t, <-sent, os.ErrDeadlineExceeded)
		require.Zero(t, time.Since(start))
		sockettest.Stop(t, c)
	})
}

// What a callback has sent before it sets a write deadline leaves before that.
func TestAWriteDeadlineInACallbackIsForWhatComesAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // or the reply's time is over before its callback's
		s := sockettest.NewScripted()
		var before, after int
		c := s.Listen(t, udp.Config{}, udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
			if string(d.Data) == "1" {
				assert.NoError(t, d.Reply([]byte("gathered")))
				before = len(s.SentData)
				assert.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
				after = len(s.SentData)
			}
		}))
		s.Arrive("1", "2")
		require.NoError(t, c.Shutdown(t.Context()))
		require.Equal(t, [2]int{0, 1}, [2]int{before, after})
	})
}

// deadlines is a scripted network on which setting no write deadline takes a while.
type deadlines struct {
	*sockettest.Scripted
	entered, leave chan struct{}
	mu             sync.Mutex
	last           time.Time
}

func (s *deadlines) SetWriteDeadline(at time.Time) error {
	if at.IsZero() {
		close(s.entered)
		<-s.leave
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = at
	return nil
}

// Open implements socket.Network.
func (s *deadlines) Open(context.Context, string, netip.AddrPort, socket.Options) (socket.Socket, error) {
	return s, nil
}
