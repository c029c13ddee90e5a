package udptest_test

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A socket that waits is in a read: that one can fail as well as one that gets
// something.
func TestReadsOfIdleSocketsFailToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1")
		open := func(port string) *udp.Conn { return listen(t, on(a), "udp", port, udp.BaseHandler{}) }
		first, second := open(":7"), open(":8")
		errors := func() [2]uint64 {
			time.Sleep(time.Hour)
			synctest.Wait()
			return [2]uint64{first.Stats().ReadErrors, second.Stats().ReadErrors}
		}
		a.FailRead(8, 1, syscall.ENETDOWN)
		require.Equal(t, [2]uint64{0, 1}, errors())
		a.FailRead(0, 1, syscall.ENETDOWN)
		require.Equal(t, [2]uint64{1, 1}, errors(), "of several, the first that was opened")
		a.FailRead(7, 1, syscall.ENOMEM)
		a.FailRead(7, 1, syscall.EIO)
		require.Equal(t, [2]uint64{3, 1}, errors(), "one after the other")
		a.FailRead(7, 2, syscall.EIO)
		require.Equal(t, [2]uint64{3, 1}, errors(), "the first read waits")
		require.NoError(t, second.SendTo([]byte("x"), listenerOf(a, 7)))
		require.Equal(t, [2]uint64{4, 1}, errors(), "and the second fails")
		require.Equal(t, uint64(1), first.Stats().Handled)

		a.FailRead(9, 1, syscall.EIO) // for one to come
		require.Equal(t, [2]uint64{4, 1}, errors())
		third := open(":9")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, uint64(1), third.Stats().ReadErrors)
		require.Equal(t, [2]uint64{4, 1}, errors())
	})
}

// starter sends before anything reads.
type starter struct {
	udp.BaseHandler
	started func(c *udp.ConnectedConn)
}

func (s starter) Started(c *udp.Conn) {
	cc, _ := c.Connected()
	s.started(cc)
}

// Linux fails a send with the error of an older datagram, once, unless a read has taken
// it before (sock_error).
func TestASendMeetsTheErrorOfAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{})
		a := n.Host("a", "10.0.0.1")
		n.Host("b", "10.0.0.2")
		c := dial(t, on(a), "udp", "b:9", starter{started: func(c *udp.ConnectedConn) {
			for range 3 {
				assert.NoError(t, c.Send(nil))
				time.Sleep(time.Millisecond)
			}
		}})
		require.Equal(t, uint64(2), c.Stats().Retried, "the second and the third")
		settle()
		require.Equal(t, uint64(3), c.Stats().Refused)
		require.NoError(t, c.Send(nil))
		require.Equal(t, uint64(2), c.Stats().Retried, "all were read")
		require.Equal(t, uint64(4), c.Stats().Sent)
	})
}
