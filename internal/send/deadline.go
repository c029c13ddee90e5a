package send

import (
	"net"
	"os"
	"time"
)

// deadline is the deadline of all sends; the zero time means none.
type deadline struct {
	at      time.Time
	changed chan struct{} // closed when the deadline is replaced
}

// SetDeadline sets the deadline of future and waiting sends.
func (s *Sender) SetDeadline(t time.Time) error {
	if s.Life.Closed() {
		return net.ErrClosed
	}
	close(s.deadline.Swap(&deadline{t, make(chan struct{})}).changed)
	err := s.Socket.SetWriteDeadline(t)
	if s.Life.Closed() {
		s.EndWaits() // again: a Close may have done so just before
	}
	return err
}

// pause waits before a send is repeated, until the write deadline or a Close at
// most.
func (s *Sender) pause(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		by, until, late := s.deadline.Load(), end, false
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
		case <-s.Life.Closing():
			t.Stop()
			return net.ErrClosed
		}
	}
}
