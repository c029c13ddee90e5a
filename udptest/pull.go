package udptest

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

var _ socket.Pulled = (*sock)(nil)

// puller reads a socket for its callers.
type puller struct {
	sock  *sock
	batch []socket.Packet
}

// Puller implements socket.Pulled.
func (s *sock) Puller() socket.Puller { return &puller{sock: s} }

// Pull implements socket.Puller.
func (p *puller) Pull([]byte, bool) ([]socket.Packet, error) {
	s := p.sock
	for {
		paused := s.host.paused.Load()
		late, done, err := p.try(paused)
		if done || err != nil {
			return p.batch, err
		}
		if !paused {
			if err := s.host.interrupted(s.port); err != nil {
				return nil, err
			}
		}
		s.waitToRead(late)
	}
}

// try takes what there is. Without anything it returns the deadline.
func (p *puller) try(paused bool) (deadline time.Time, done bool, err error) {
	s := p.sock
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return deadline, true, net.ErrClosed
	case s.fatal != nil:
		return deadline, true, s.fatal
	case s.woken:
		s.woken = false
		return deadline, true, nil
	case !s.readDeadline.IsZero() && !time.Now().Before(s.readDeadline):
		return deadline, true, os.ErrDeadlineExceeded
	case paused:
		return s.readDeadline, false, nil
	case len(s.reports) > 0:
		r := s.reports[0]
		s.reports, s.pending = s.reports[1:], none
		return deadline, true, &socket.ReportError{Report: r}
	case s.pending != none && !s.opts.PeerErrors:
		err, s.pending = sysErr("recvfrom", s.pending), none
		return deadline, true, err
	case len(s.queue) == 0:
		return s.readDeadline, false, nil
	}
	if s.host.injecting.Load() {
		s.mu.Unlock() // which is taken last
		err := s.host.inject(opRead, s.port)
		s.mu.Lock()
		if err != nil || len(s.queue) == 0 { // meanwhile
			return s.readDeadline, false, err
		}
	}
	p.batch = s.take(false, 0)
	return deadline, true, nil
}

// Done implements socket.Puller.
func (p *puller) Done() {
	if p.batch == nil {
		return
	}
	for i := range p.batch {
		p.batch[i].Buf.Release(1)
	}
	p.sock.giveBack(p.batch)
	p.batch = nil
}

// waitToRead waits until something has changed, or until the deadline.
func (s *sock) waitToRead(deadline time.Time) {
	if deadline.IsZero() {
		<-s.readable
		return
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-s.readable:
	case <-t.C:
	}
}

// SetReadDeadline implements socket.Pulled.
func (s *sock) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.readDeadline = t
	signal(s.readable)
	return nil
}

// SetReadBuffer implements socket.Pulled.
func (s *sock) SetReadBuffer(bytes int) error { return s.setBuffer(&s.opts.ReadBuffer, bytes) }

// SetWriteBuffer implements socket.Pulled. A sender that waits finds out when it looks
// again.
func (s *sock) SetWriteBuffer(bytes int) error { return s.setBuffer(&s.opts.WriteBuffer, bytes) }

func (s *sock) setBuffer(size *int, bytes int) error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	*size = max(bytes, leastBuffer)
	return nil
}

// Uncoalesced implements socket.Pulled: nothing is coalesced here.
func (s *sock) Uncoalesced() error { return nil }

// File implements socket.Pulled: there is no descriptor.
func (s *sock) File() (*os.File, error) {
	return nil, errors.Join(errors.New("udptest: a simulated socket has no descriptor"), errors.ErrUnsupported)
}
