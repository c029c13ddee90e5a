package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
)

// dispatch passes the packets on. It returns false after a panic. The position is then
// at the next datagram, so it can be called again.
func (r *reader) dispatch() (all bool) {
	defer r.contain(&all)
	for r.at < len(r.packets) {
		p := &r.packets[r.at]
		switch t := &r.conn.consumer; {
		case t.queue != nil:
			r.feed(p, &t.queue.fifo)
			r.at++
		case t.workers != nil:
			r.spread(p, t.workers.pool.Load())
			r.at++
		default:
			r.call(p)
		}
	}
	return true
}

// call calls the Handler for the datagrams of p, from r.off on.
func (r *reader) call(p *socket.Packet) {
	c := r.conn
	d := Datagram{From: p.From}
	peer := c.peer.Current.Load()
	why := r.unwanted(p, peer)
	for n, more := 0, true; more; n++ {
		start, end := r.off, len(p.Data)
		if more = p.Segment > 0 && end-start > p.Segment; more {
			end = start + p.Segment
			r.off = end
		} else if r.at, r.off = r.at+1, 0; r.at == len(r.packets) {
			c.out.More.Store(false)
		}
		if now := c.peer.Current.Load(); now != peer { // a callback has changed the peer
			peer, why = now, r.unwanted(p, now)
		}
		if c.closed() || why != stats.NotDropped || end-start > c.cfg.MaxDatagram {
			c.countDrop(p, p.Data[start:end:end], r.why(why))
			continue
		}
		if n >= buffer.MaxLease || d.packet == nil {
			d.packet = r.packet(p, nil)
			d.packet.lease.Init(p.Buf, p.Data[start:], p.Segment)
			n = 0
		}
		d.Data = p.Data[start:end:end]
		r.calling = true
		if t := &c.consumer; t.function != nil { // saves the call through the interface
			t.function(c, d)
		} else {
			t.handler.Received(c, d)
		}
		r.calling = false
		r.handled++
	}
	r.countHandled()
}

// why returns the reason to drop a datagram, or NotDropped.
func (r *reader) why(why stats.Reason) stats.Reason {
	switch {
	case r.conn.closed():
		return stats.DropClosed
	case why != stats.NotDropped:
		return why
	}
	return stats.DropTruncated
}

// feed puts the datagrams of p into the fifo of a Queue, or of one worker.
func (r *reader) feed(p *socket.Packet, f *fifo) {
	c := r.conn
	total, in, put := p.Datagrams(), 0, 0
	peer := c.peer.Current.Load()
	why := r.unwanted(p, peer)
	// Many datagrams in one buffer take less memory there than in short buffers.
	whole := total >= buffer.Size/buffer.Short || len(p.Data) >= buffer.Size/2
	d := Datagram{From: p.From}
	for i := range total {
		start := i * p.Segment
		end := len(p.Data)
		if p.Segment > 0 {
			end = min(start+p.Segment, end)
		}
		if now := c.peer.Current.Load(); now != peer { // while put was waiting
			peer, why = now, r.unwanted(p, now)
		}
		if i%buffer.MaxLease == 0 {
			d.packet = r.packet(p, f)
			d.packet.lease.Init(p.Buf, p.Data[start:], p.Segment)
			d.packet.lease.RetainAll(p.Buf, min(total-i, buffer.MaxLease))
		}
		d.Data = p.Data[start:end:end]
		if c.closed() || why != stats.NotDropped || end-start > c.cfg.MaxDatagram {
			c.countDrop(p, d.Data, r.why(why))
			d.Release()
			continue
		}
		f.begin(c) // before a worker can end it
		one := d
		if !whole && len(f.C) >= f.whole {
			r.shorten(&one, p, f)
		}
		put++
		select {
		case f.C <- one:
			in++
			continue
		default:
		}
		r.countGiven(f, put, in) // the next put may block for long
		put, in = 0, 0
		if why := f.put(c, &one); why == stats.NotDropped {
			in++
		} else {
			c.countDrop(p, d.Data, why)
			f.end(c)
		}
	}
	r.countGiven(f, put, in)
}

// countGiven counts n datagrams that were given to f and how many of them it accepted.
func (r *reader) countGiven(f *fifo, n, accepted int) {
	if n+accepted == 0 {
		return
	}
	f.counters.received.Add(uint64(n))
	if !f.working {
		r.conn.stats.Handled.Add(int64(accepted))
	}
	waiting := uint64(len(f.C))
	stats.Raise(&r.conn.stats.Peak, waiting)
	stats.Raise(&f.counters.peak, waiting)
}

// shorten moves d into a short buffer with its own packet.
func (r *reader) shorten(d *Datagram, p *socket.Packet, f *fifo) {
	old := *d
	if b := shorter(p.Buf, d); b != nil {
		d.packet = r.packet(p, f)
		d.packet.keep(b, d.Data)
		b.Release(1) // the packet's is the only reference
		old.Release()
	}
}

// spread gives each datagram of p to the worker of its key. By default all datagrams
// of p have one key, the sender's.
func (r *reader) spread(p *socket.Packet, workers *pool) {
	d := Datagram{Data: p.Data, From: p.From}
	if workers.workers.cfg.Key == nil {
		r.feed(p, workers.choose(d))
		return
	}
	one := *p
	d.packet = r.packet(p, nil)
	for r.off < len(p.Data) || r.off == 0 {
		end := len(p.Data)
		if p.Segment > 0 {
			end = min(r.off+p.Segment, end)
		}
		one.Data, one.Segment = p.Data[r.off:end:end], 0
		if r.off = end; end == 0 {
			r.off = 1
		}
		d.Data = one.Data
		r.calling = true
		f := workers.choose(d)
		r.calling = false
		r.feed(&one, f)
	}
	r.off = 0
}

// unwanted returns the reason why a packet is not for the Handler, or NotDropped.
func (r *reader) unwanted(p *socket.Packet, peer *netip.AddrPort) stats.Reason {
	c := r.conn
	switch {
	case p.Truncated, p.ControlTruncated:
		return stats.DropTruncated
	case peer != nil && *peer != p.From && !c.peer.IsNext(p.From):
		return stats.DropStranger
	case c.groups.check && !c.groups.Wants(p.To.Addr(), p.From.Addr(), p.IfIndex):
		return stats.DropStranger
	}
	return stats.NotDropped
}

// countHandled counts the datagrams of a packet at once, to save atomic operations.
func (r *reader) countHandled() {
	if r.handled > 0 {
		r.conn.stats.Handled.Add(int64(r.handled))
		r.handled = 0
	}
}

// current returns the datagram for which Received or Key was called. The position is
// already after it.
func (r *reader) current() (p *socket.Packet, data []byte) {
	at, end := r.at, r.off
	if end == 0 {
		at--
	}
	p = &r.packets[at]
	if end == 0 || end > len(p.Data) {
		end = len(p.Data)
	}
	start := 0
	if p.Segment > 0 && end > 0 {
		start = (end - 1) / p.Segment * p.Segment
	}
	return p, p.Data[start:end:end]
}

// contain counts a datagram whose Received did not return, and logs its panic. Without
// a panic, Received called runtime.Goexit.
func (r *reader) contain(all *bool) {
	v := recover()
	r.countHandled()
	if *all {
		return
	}
	if r.calling {
		p, data := r.current()
		r.conn.countDrop(p, data, stats.DropPanicked)
		r.calling = false
	}
	if v != nil {
		r.conn.guard.Panicked(r.conn.consumer.called("Received"), v)
		return
	}
	// Goexit: count now, because once its deferred functions have run, another socket
	// uses the packets.
	for ; r.at < len(r.packets); r.at++ {
		p := r.packets[r.at]
		none := r.off > 0 && r.off >= len(p.Data) // Key was called for its last datagram
		p.Data = p.Data[min(r.off, len(p.Data)):]
		r.off = 0
		if !none {
			r.conn.countDrops(&p, stats.DropClosed)
		}
	}
	r.packets = nil
}

// countDrop counts a datagram of p that is not passed to a Handler.
func (c *Conn) countDrop(p *socket.Packet, data []byte, why stats.Reason) {
	if c.cfg.Trace != nil {
		d := traced(p, newHeader(c, p))
		d.Data = data
		c.traceDropped(d, why)
	}
	c.stats.Dropped[why].Add(1)
}

// countDrops is countDrop for all datagrams of p.
func (c *Conn) countDrops(p *socket.Packet, why stats.Reason) {
	for data := range p.Payloads() {
		c.countDrop(p, data, why)
	}
}

// countDropped counts a Datagram that was dropped on its way to a Handler, or by the
// Handler.
func (c *Conn) countDropped(d Datagram, why stats.Reason) {
	if c.cfg.Trace != nil {
		c.traceDropped(d, why)
	}
	c.stats.Dropped[why].Add(1)
}
