package udp

import (
	"errors"
	"net"
	"time"

	"github.com/udpkit/udp/internal/books"
	"github.com/udpkit/udp/internal/buffer"
	"github.com/udpkit/udp/internal/goid"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

var _ socket.Sink = (*reader)(nil)

// reader is the goroutine of a socket: it takes what the socket has read and
// calls the Handler. It is a socket.Sink.
type reader struct {
	*Conn
	packets []socket.Packet // of the read that is being handled
	at, off int             // where the next datagram is: its packet, its offset
	handled int             // of the packet, not yet in the counters
	outbox  *outbox         // nil: nothing gathered
	taken   bool            // a Queue or Workers answer for the datagram in the counters
	buf     *buffer.Buffer  // that the packet lies in
	spare   int             // references to it that are nobody's yet
	shared  *buffer.Buffer  // that the last datagram taken lies in
	kept    int             // datagrams of it that a Queue or Workers took
	bytes   int             // in them
	full    bool            // the one before was well used
	faults  int             // failed reads since the last good one
	fatal   error           // the read error that ends it
	err     error           // what ended it
}

func (r *reader) run() {
	r.callback.Store(goid.ID())
	defer r.finish()
	if r.err != nil {
		return
	}
	r.err = errGoexit // unless a callback calls runtime.Goexit, as t.FailNow does
	err := r.sock.Serve(r)
	if r.err = r.fatal; err != nil {
		r.err = err
	}
	if r.closed() || r.phase.Load() == draining {
		r.err = nil
	}
}

var errGoexit = errors.New("udp: a callback ended its goroutine with runtime.Goexit")

// finish closes everything, in any case.
func (r *reader) finish() {
	r.flush() // Goexit in Received left it
	defer close(r.done)
	if books.Stopped != nil {
		defer func() { books.Stopped(r.String(), r.stats.balance) }()
	}
	if r.phase.Load() == draining && r.err == nil {
		r.work.wait(r.closing) // Close, and the end of Shutdown's context, cut it short
	}
	r.stop()
	r.dropMet()
	r.discard()
	r.stats.kernel.sample(r.sock, true)
	if r.groups != nil {
		r.groups.Stop()
	}
	if err := r.sock.Close(); r.err == nil && err != nil && !errors.Is(err, net.ErrClosed) {
		r.err = err
	}
	r.settled.Store(true)
	r.work.wait(nil)
	r.guard("Stopped", func() { r.handler.Stopped(r.Conn, r.opErrorOnce(r.err)) })
}

func (r *reader) opErrorOnce(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "read", Net: r.network, Source: r.LocalAddr(), Err: err}
}

// Packets implements socket.Sink.
func (r *reader) Packets(ps []socket.Packet) bool {
	n, bytes := 0, 0
	for i := range ps {
		n += datagrams(&ps[i])
		bytes += len(ps[i].Data)
	}
	if r.stats.read(n, bytes)%kernelDropsEvery == 0 {
		r.stats.kernel.sample(r.sock, false)
	}
	r.faults = 0

	r.settled.Store(true)
	r.packets, r.at, r.off = ps, 0, 0
	for !r.dispatch() {
	}
	r.flush()
	r.packets = nil
	r.settled.Store(false)
	return !r.closed()
}

// kernelDropsEvery is how many reads go by between two looks at a counter that
// starts again after 4 billion.
const kernelDropsEvery = 1 << 16

// Reports implements socket.Sink.
func (r *reader) Reports(rs []socket.Report) bool {
	r.settled.Store(true)
	defer r.settled.Store(false)
	for i := range rs {
		if r.closed() {
			r.stats.refusalsLost.Add(uint64(len(rs) - i))
			return false
		}
		r.refuse(r.refusal(rs[i]))
	}
	return !r.closed()
}

// refuse tells the Handler about one ICMP message.
func (r *reader) refuse(f *Refusal) {
	r.stats.refused.Add(1)
	r.guard("Refused", func() { r.handler.Refused(r.Conn, f) })
}

// Fault implements socket.Sink: it sorts the errors of reads. Nothing but a
// closed socket ends the reader, and no error makes it spin.
func (r *reader) Fault(err error) bool {
	if r.closed() {
		return false
	}
	class := sys.Classify(err)
	switch class {
	case sys.Closed:
		r.fatal = err
		return false
	case sys.Again:
		return r.faulted(freeFaults, 0)
	case sys.Report, sys.Unreachable, sys.TooLarge:
		// An ICMP message. That no Refusal comes of it on an unconnected socket is
		// as it should be: the system does not say whose datagram it was.
		if r.peer.Load() != nil {
			r.settled.Store(true)
			r.refuse(r.refusal(socket.Report{Err: errnoOf(err)}))
			r.settled.Store(false)
			return !r.closed() && r.faulted(freeFaults, 0)
		}
	}
	r.stats.readErrors.Add(1)
	r.log.warn(r.Conn, "udp: read failed", err)
	return r.faulted(0, maxBackOff)
}

// Bounds of reading on after errors. The kernel gives each error once, so that
// it is read on at once after freeFaults of those that say something about an
// earlier datagram, and then a thousand times a second; after others the pauses
// grow to a second.
const (
	freeFaults = 64
	maxBackOff = 10 // as a power of two, milliseconds
)

// faulted counts a failed read and waits, but for the first free ones, longer
// each time up to 2^longest milliseconds. It returns false when the socket is
// closed meanwhile.
func (r *reader) faulted(free, longest int) bool {
	n := r.faults - free
	r.faults++
	if n < 0 {
		return true
	}
	t := time.NewTimer(min(time.Millisecond<<min(n, longest), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.closing:
		return false
	}
}

// Woken implements socket.Sink. It runs the events there are now; what they
// post themselves comes after the next read, so that reading never starves.
func (r *reader) Woken() socket.Action {
	r.mu.Lock()
	events := r.events
	r.events = nil
	r.mu.Unlock()
	r.settled.Store(true)
	for _, f := range events {
		if r.closed() {
			return socket.Stop
		}
		f()
	}
	r.settled.Store(false)
	switch r.phase.Load() {
	case stopping:
		return socket.Stop
	case draining:
		return socket.Drain
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) > 0 {
		return socket.Soon
	}
	return socket.Continue
}
