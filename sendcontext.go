package udp

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// How often SendContext looks whether there is room: soon at first, then seldom.
const (
	firstLook = 100 * time.Microsecond
	lastLook  = 8 * time.Millisecond
)

// SendContext sends m as SendTo does, but waits until ctx ends for room in the buffer
// of the socket, or in the queue of the outgoing interface. The write deadline does not
// apply, and SendContext does not wait for sends of other goroutines. If ctx ends
// first, the error wraps ctx's error, and the datagram has not been sent;
// [SendFailures].Deadline counts it. SendContext tries at least once: with a context
// that has ended, it sends if it need not wait.
//
// While it waits, it tries again at least every few milliseconds. Other sends may take
// the room before it. On Windows, AIX and Plan 9 a send that has begun waits for room.
func (c *Conn) SendContext(ctx context.Context, m Message) error {
	if !c.ok() {
		return errNoSocket("send")
	}
	s, err := m.message()
	if err == nil {
		err = c.addressOpen(&s)
	}
	for wait := firstLook; err == nil; wait = min(2*wait, lastLook) {
		var full bool
		if c.out.readDone(); !c.out.pending.Load() { // what was enqueued leaves first
			if full, err = c.sendIfRoom(s); !full && err == nil {
				return nil
			}
		}
		if err == nil {
			err = c.look(ctx, wait)
		}
	}
	c.countFailure(err)
	return c.opError("send", m.To, err)
}

// sendIfRoom sends one message that address has seen, unless there is no room for it now.
func (c *Conn) sendIfRoom(m socket.Message) (full bool, err error) {
	if c.closed() {
		return false, net.ErrClosed
	}
	_, err = c.sock.SendBatch([]socket.Message{m}, false)
	if err == nil {
		c.stats.CountSent(1, len(m.Data))
		return false, nil
	}
	err, later := c.sendAgain(m, err, tryOnce)
	if later || sys.Classify(err) == sys.NoBuffers && !c.many(m.To) {
		return true, nil
	}
	return false, err
}

// look waits before the next look.
func (c *Conn) look(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.closing:
		return net.ErrClosed
	case <-t.C:
		return nil
	}
}

// gaveUp reports whether err is that of a context.
func gaveUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
