package send

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// The interval at which SendContext looks for room: short at first, then longer.
const (
	firstLook = 100 * time.Microsecond
	lastLook  = 8 * time.Millisecond
)

// SendContext checks m and sends it as soon as nothing is pending and there is room,
// until ctx ends.
func (o *Outbox) SendContext(ctx context.Context, m *socket.Message) error {
	checked := *m
	if err := o.Check(&checked, o.Peer.Load()); err != nil {
		return err
	}
	err := error(nil)
	for wait := firstLook; err == nil; wait = min(2*wait, lastLook) {
		var full bool
		o.TryFlush()
		if !o.pending.Load() { // what was enqueued leaves first
			if full, err = o.sendIfRoom(*m); !full && err == nil {
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

// sendIfRoom sends a message if there is room for it now.
func (s *Sender) sendIfRoom(m socket.Message) (full bool, err error) {
	if s.Life.Closed() {
		return false, net.ErrClosed
	}
	peer := s.Steady()
	defer s.Leave(peer)
	if err := s.Address(&m, peer); err != nil {
		return false, err
	}
	_, err = s.Socket.SendBatch([]socket.Message{m}, false)
	if err == nil {
		s.Stats.CountSent(1, len(m.Data))
		return false, nil
	}
	err, later := s.Again(m, err, TryOnce)
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
