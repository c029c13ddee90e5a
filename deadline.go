package udp

import (
	"net"
	"net/netip"
	"os"
	"time"
)

// deadline is one of writes. The zero time is none.
type deadline struct {
	at      time.Time
	changed chan struct{} // closed when there is another one
}

// SetWriteDeadline bounds the waiting of sends, also of those that wait now; a
// zero t means no deadline. In a callback, what has been gathered leaves first:
// see [Conn.Flush].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.flushFirst()
	if c.closed() {
		return c.opError("set", netip.AddrPort{}, net.ErrClosed)
	}
	close(c.deadline.Swap(&deadline{t, make(chan struct{})}).changed)
	err := c.sock.SetWriteDeadline(t)
	if c.closed() {
		c.endSends() // which stop may have done just before
	}
	return c.opError("set", netip.AddrPort{}, err)
}

// endSends ends those that wait for room.
func (c *Conn) endSends() { c.sock.SetWriteDeadline(time.Unix(1, 0)) }

// pause waits before a send is repeated, but not past the write deadline or a
// Close.
func (c *Conn) pause(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		by, until, late := c.deadline.Load(), end, false
		if !by.at.IsZero() && !by.at.After(end) {
			until, late = by.at, true
		}
		t := time.NewTimer(time.Until(until))
		select {
		case <-t.C:
			if late {
				return os.ErrDeadlineExceeded
			}
			return nil
		case <-by.changed:
			t.Stop()
		case <-c.closing:
			t.Stop()
			return net.ErrClosed
		}
	}
}
