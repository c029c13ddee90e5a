package udptest

import (
	"net"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// maxBatch is the greatest number of packets in one call of Sink.Packets.
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
		case len(batch) == 0: // Drain is complete
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

// end returns the error of Serve for a socket that was closed or has failed.
func (s *sock) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	return net.ErrClosed
}

// settle waits until the Sink has handled everything that was pushed.
func (s *sock) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && s.fatal == nil && (s.busy || s.woken || len(s.queue)+len(s.reports) > 0) {
		s.idle.Wait()
	}
}

// next waits for what Serve passes to the Sink next. While draining it waits for nothing that
// is not queued. With soon, a Wake comes after the queued packets.
func (s *sock) next(draining, soon bool, left int) (batch []socket.Packet, rs []socket.Report, woken, closed bool, fault error) {
	for {
		paused := s.host.paused.Load()
		s.mu.Lock()
		switch {
		case s.closed, s.fatal != nil:
			s.mu.Unlock()
			return nil, nil, false, true, nil
		case s.woken && !(soon && len(s.queue)+len(s.reports) > 0):
			s.woken, s.busy = false, true
			s.mu.Unlock()
			return nil, nil, true, false, nil
		case len(s.reports) > 0 && !paused:
			rs, s.reports, s.busy, s.pending = s.reports, nil, true, none
			s.mu.Unlock()
			return nil, rs, false, false, nil
		case len(s.queue) > 0 && (!draining || left > 0) && !paused:
			s.busy = true
			if s.host.injecting.Load() {
				s.mu.Unlock() // the lock order: the network's lock first
				if err := s.host.inject(opRead, s.port); err != nil {
					return nil, nil, false, false, err
				}
				s.mu.Lock()
				if s.closed || s.fatal != nil || len(s.queue) == 0 { // they may have changed
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
		waits := paused && len(s.queue) > 0
		s.mu.Unlock()
		if draining && !waits {
			return nil, nil, false, false, nil
		}
		if !paused {
			if err := s.host.interrupted(s.port); err != nil {
				return nil, nil, false, false, err
			}
		}
		<-s.readable
	}
}

// take removes packets from the queue. The caller holds s.mu.
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
		s.used -= charge(&batch[i])
	}
	return batch
}

// giveBack is rest after a batch. It keeps the memory for a later queue.
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

// rest records that the Sink has returned.
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

// received is the result of push for a datagram that it has queued.
const received = "received"

// push queues a datagram, or drops it if there is no room; as on Linux, an empty buffer always
// has room. It returns what it did, for the trace. The caller then signals s.readable.
func (s *sock) push(p socket.Packet) (what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what = s.admit(&p); what == received {
		s.queue = append(s.queue, p)
	}
	return what
}

// admit charges a datagram to the receive buffer, or drops it. The caller holds s.mu.
func (s *sock) admit(p *socket.Packet) (what string) {
	if s.shut || s.closed || s.dead {
		p.Buf.Release(1)
		return "closed"
	}
	cost := charge(p)
	if s.used > 0 && s.used+cost > 2*s.opts.ReadBuffer {
		s.drops++
		p.Buf.Release(1)
		return "buffer full"
	}
	if s.opts.Timestamps {
		p.Time = time.Now()
	}
	s.used += cost
	return received
}

// charge returns the bytes that a packet takes in a receive buffer. A coalesced packet takes
// as much as its datagrams, so that coalescing does not affect which datagrams are dropped.
func charge(p *socket.Packet) int { return len(p.Data) + overhead*segments(p) }

// segments returns the number of datagrams in a packet.
func segments(p *socket.Packet) int {
	if p.Segment == 0 {
		return 1
	}
	return (len(p.Data) + p.Segment - 1) / p.Segment
}

// report queues an ICMP error. Unless Serve reads it first, the next send returns pending. The
// caller then signals s.readable.
func (s *sock) report(r socket.Report, pending errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.lostReports++
		return
	}
	if s.opts.Pulled && !s.opts.PeerErrors {
		// To a connected socket without an error queue, Linux reports only fatal errors
		// (icmp_err_convert in net/ipv4/icmp.c).
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

// empty discards everything that is queued and returns the number of datagrams. The caller
// holds s.mu.
func (s *sock) empty() int {
	n := 0
	for i := range s.queue {
		n += segments(&s.queue[i])
		s.queue[i].Buf.Release(1)
	}
	s.lostReports += uint64(len(s.reports))
	s.queue, s.spare, s.reports, s.used = nil, nil, nil, 0
	return n
}
