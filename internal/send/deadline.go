package send

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
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

// The interval at which SendContext looks for room: short at first, then longer.
const (
	firstLook = 100 * time.Microsecond
	lastLook  = 8 * time.Millisecond
)

// SendContext checks m and sends it as soon as nothing is pending and there is room,
// until ctx ends.
func (o *Outbox) SendContext(ctx context.Context, m *socket.Message) error {
	if err := o.Check(m); err != nil {
		return err
	}
	err := error(nil)
	for wait := firstLook; err == nil; wait = min(2*wait, lastLook) {
		var full bool
		if o.ReadDone(); !o.pending.Load() { // what was enqueued leaves first
			if full, err = o.sendIfRoom(m); !full && err == nil {
				return nil
			}
		}
		if err == nil {
			err = o.look(ctx, wait)
		}
	}
	o.CountFailure(err)
	return err
}

// sendIfRoom sends a checked message if there is room for it now.
func (s *Sender) sendIfRoom(m *socket.Message) (full bool, err error) {
	if s.Life.Closed() {
		return false, net.ErrClosed
	}
	_, err = s.Socket.SendBatch([]socket.Message{*m}, false)
	if err == nil {
		s.Stats.CountSent(1, len(m.Data))
		return false, nil
	}
	err, later := s.Again(*m, err, TryOnce)
	if later || sys.Classify(err) == sys.NoBuffers && !s.many(m.To) {
		return true, nil
	}
	return false, err
}

// look waits before the next look.
func (s *Sender) look(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.Life.Closing():
		return net.ErrClosed
	case <-t.C:
		return nil
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
