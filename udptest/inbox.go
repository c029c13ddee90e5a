package udptest

import (
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// maxBatch is how many datagrams one call to the Sink brings at the most.
const maxBatch = 64

// Serve implements socket.Socket.
func (s *sock) Serve(sink socket.Sink) error {
	draining, soon, left := false, false, 0
	for {
		batch, reports, woken, closed, fault := s.next(draining, soon, left)
		soon = false
		switch {
		case closed:
			return s.end()
		case woken:
			action := sink.Woken()
			s.rest()
			switch action {
			case socket.Stop:
				return nil
			case socket.Drain:
				draining, left = true, s.queued()
			case socket.Soon:
				soon = true // and then asks again
				s.Wake()
			}
			continue
		case fault != nil:
			more := sink.Fault(fault)
			s.rest()
			if !more {
				return nil
			}
			continue
		case len(reports) > 0:
			more := sink.Reports(reports)
			s.rest()
			if !more {
				return nil
			}
			continue
		case len(batch) == 0: // drained
			return nil
		}
		left -= len(batch)
		more := sink.Packets(batch)
		for i := range batch {
			batch[i].Buf.Release(1)
		}
		s.giveBack(batch)
		if !more {
			return nil
		}
	}
}

// end says why Serve ends.
func (s *sock) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	return net.ErrClosed
}

// settle waits until everything that was pushed has been handled.
func (s *sock) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.fatal == nil && (s.busy || s.woken || len(s.queue)+len(s.reports) > 0) {
		s.idle.Wait()
	}
}

// next waits for what Serve does next; when draining it does not wait. With soon
// a Wake comes after the datagrams.
func (s *sock) next(draining, soon bool, left int) (batch []socket.Packet, rs []socket.Report, woken, closed bool, fault error) {
	for {
		s.mu.Lock()
		switch {
		case s.closed, s.fatal != nil:
			s.mu.Unlock()
			return nil, nil, false, true, nil
		case s.woken && !(soon && len(s.queue)+len(s.reports) > 0):
			s.woken, s.busy = false, true
			s.mu.Unlock()
			return nil, nil, true, false, nil
		case len(s.reports) > 0:
			rs, s.reports, s.busy, s.pending = s.reports, nil, true, none
			s.mu.Unlock()
			return nil, rs, false, false, nil
		case len(s.queue) > 0 && (!draining || left > 0):
			s.busy = true
			if s.host.injecting.Load() {
				s.mu.Unlock() // which is taken last
				if err := s.host.inject(opRead, s.port); err != nil {
					return nil, nil, false, false, err
				}
				s.mu.Lock()
				if s.closed || s.fatal != nil || len(s.queue) == 0 { // meanwhile
					s.busy = false
					s.mu.Unlock()
					s.idle.Broadcast()
					continue
				}
			}
			batch = s.take(draining, left)
			s.mu.Unlock()
			return batch, nil, false, false, nil
		}
		s.mu.Unlock()
		if draining {
			return nil, nil, false, false, nil
		}
		if err := s.host.interrupted(s.port); err != nil {
			return nil, nil, false, false, err
		}
		<-s.readable
	}
}

// take takes datagrams off the queue. It needs s.mu.
func (s *sock) take(draining bool, left int) []socket.Packet {
	n := min(len(s.queue), maxBatch)
	if draining {
		n = min(n, left)
	}
	batch := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue, s.spare = s.spare, nil
	}
	for i := range batch {
		s.used -= len(batch[i].Data) + overhead
	}
	return batch
}

// giveBack is rest after a batch: it keeps its memory for the queue to come.
func (s *sock) giveBack(batch []socket.Packet) {
	clear(batch)
	s.mu.Lock()
	s.busy = false
	if s.spare == nil && len(batch) < maxBatch {
		s.spare = batch[:0]
	}
	s.mu.Unlock()
	s.idle.Broadcast()
}

// rest says that the Sink has returned.
func (s *sock) rest() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	s.idle.Broadcast()
}

func (s *sock) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Wake implements socket.Socket.
func (s *sock) Wake() {
	s.mu.Lock()
	s.woken = true
	s.mu.Unlock()
	signal(s.readable)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// received is what push says of what it has queued.
const received = "received"

// push queues a datagram, or drops it when there is no room, as Linux does: the
// first always finds room. It says what it has done. Serve does not know of it
// before s.readable is signalled.
func (s *sock) push(p socket.Packet) (what string) {
	s.mu.Lock()
	if s.shut || s.closed || s.dead {
		s.mu.Unlock()
		p.Buf.Release(1)
		return "nobody reads"
	}
	cost := len(p.Data) + overhead
	if s.used > 0 && s.used+cost > 2*s.opts.ReadBuffer {
		s.drops++
		s.mu.Unlock()
		p.Buf.Release(1)
		return "buffer full"
	}
	if s.opts.Timestamps {
		p.Time = time.Now()
	}
	s.used += cost
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	return received
}

// report queues a report, whose error is for the next send unless that is read
// before, and is otherwise like push.
func (s *sock) report(r socket.Report, pending errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.lostReports++
		return
	}
	if s.opts.Pulled && !s.opts.PeerErrors {
		// Linux tells a connected socket without an error queue the errors only that
		// are sure to last (icmp_err_convert in net/ipv4/icmp.c).
		if pending == eCONNREFUSED || pending == eACCES {
			s.pending = pending
		}
		return
	}
	s.reports = append(s.reports, r)
	if pending != none {
		s.pending = pending
	}
}

// Discard implements socket.Socket.
func (s *sock) Discard() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	return s.empty()
}

// empty needs s.mu.
func (s *sock) empty() int {
	n := len(s.queue)
	for _, p := range s.queue {
		p.Buf.Release(1)
	}
	s.lostReports += uint64(len(s.reports))
	s.queue, s.spare, s.reports, s.used = nil, nil, nil, 0
	return n
}
