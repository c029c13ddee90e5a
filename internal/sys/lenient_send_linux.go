//go:build !udpbasic

package sys

import (
	"errors"
	"fmt"

	"github.com/udpkit/udp/internal/socket"
)

// lacks returns an error if a lenient stack would ignore a header field of the message. The
// interface of a datagram to a group is no such field: an option of the socket sets it.
func (c *Conn) lacks(m *socket.Message) error {
	switch to := m.To.Addr(); {
	case m.TrafficClass != 0:
		return fmt.Errorf("traffic class of one datagram: %w", errors.ErrUnsupported)
	case m.IfIndex != 0 && !to.IsMulticast() && to.Zone() == "":
		return fmt.Errorf("outgoing interface of one datagram: %w", errors.ErrUnsupported)
	}
	return nil
}

// sendLenient sends on a lenient stack. Datagrams that need other options of the socket are
// sent one at a time.
func (c *Conn) sendLenient(ms []socket.Message, wait bool) (sent int, err error) {
	simple := 0
	for simple < len(ms) && ms[simple].IfIndex == 0 && ms[simple].TrafficClass == 0 {
		simple++
	}
	if simple > 0 {
		sent, err = c.sendBatch(&ms[0], simple, wait)
	}
	for i := simple; i < len(ms) && err == nil; i++ {
		m, n := &ms[i], 0
		if err = c.lacks(m); err != nil {
			break
		}
		restore := func() {}
		if m.IfIndex != 0 && m.To.Addr().IsMulticast() {
			if restore, err = c.leaveBy(m.IfIndex, m.To.Addr().Is6()); err != nil {
				break
			}
		}
		n, err = c.sendBatch(m, 1, wait)
		sent += n
		restore()
	}
	return sent, err
}
