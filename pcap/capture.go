package pcap

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/udpkit/udp/udptest"
)

// Config limits the memory of a Capture. The zero value is useful.
type Config struct {
	// Last is how many packets are kept in memory; 0 is 1,000.
	Last int

	// Snap is how many bytes of each packet are kept, headers included; 0 is all of them.
	Snap int
}

// A Capture records packets. Its methods may be called from any goroutine.
type Capture struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	ring    []*record
	next    int // where the next record goes
	builder builder

	live    *file // nil: not started
	pending []*record
	err     error // the first of live

	panics chan struct{} // gets one after a panic; nil: nobody wants to know
}

// New returns a Capture that keeps the last packets and writes none.
func New(cfg Config) *Capture {
	if cfg.Last <= 0 {
		cfg.Last = 1000
	}
	return &Capture{cfg: cfg, ring: make([]*record, cfg.Last)}
}

// record is a packet.
type record struct {
	at      time.Time
	where   where
	dir     direction
	peer    netip.AddrPort // invalid unless it is a received datagram
	packet  []byte         // as much as Config.Snap allows
	header  int            // length of the headers
	length  int            // of the whole packet
	comment string
	pending bool // to be written to the live file
}

// where is the socket or link of a packet: an interface of the file.
type where struct {
	link  string         // name of a simulated link, or
	local netip.AddrPort // of a socket, and
	zone  string         // of its peer
}

func (w where) String() string {
	switch {
	case w.link != "":
		return w.link
	case w.zone != "":
		return "udp " + w.local.String() + " " + w.zone
	}
	return "udp " + w.local.String()
}

type direction int

const (
	unknown direction = iota
	inbound
	outbound
)

// Packets wait for a comment, and for those with an earlier time: what a send caused may be
// reported before the send.
const (
	maxPending = 256
	// search is how many of the last records are searched for a datagram that was dropped.
	search = 1024
)

// add records a packet. It needs mu. The packet is copied.
func (c *Capture) add(r record, packet []byte) {
	old := c.ring[c.next]
	if old == nil || old.pending {
		old = new(record) // the file needs the other one
		c.ring[c.next] = old
	}
	c.next = (c.next + 1) % len(c.ring)
	r.length = len(packet)
	if c.cfg.Snap > 0 {
		packet = packet[:min(len(packet), c.cfg.Snap)]
	}
	r.packet = append(old.packet[:0], packet...)
	*old = r
	if c.live == nil {
		return
	}
	old.pending = true
	if c.pending = append(c.pending, old); len(c.pending) == maxPending {
		c.write(maxPending / 2)
	}
}

// write writes the first n of the pending records. It needs mu.
func (c *Capture) write(n int) {
	sortByTime(c.pending)
	for _, r := range c.pending[:n] {
		r.pending = false
		if c.err == nil {
			c.err = c.live.write(r)
		}
	}
	c.pending = append(c.pending[:0], c.pending[n:]...)
}

// dropped adds the comment to the datagram that was received last with this payload from this
// peer. It returns false if there is none. It needs mu.
func (c *Capture) dropped(w where, peer netip.AddrPort, data []byte, comment string) bool {
	at := c.next
	for range min(search, len(c.ring)) {
		if at--; at < 0 {
			at = len(c.ring) - 1
		}
		r := c.ring[at]
		if r == nil {
			return false
		}
		if r.peer == peer && r.where == w && r.comment == "" && r.length == r.header+len(data) &&
			bytes.Equal(r.packet[min(r.header, len(r.packet)):], data[:max(0, len(r.packet)-r.header)]) {
			r.comment = comment
			return true
		}
	}
	return false
}

// Start writes packets to w until Stop. Writing must not take long, because sockets wait
// meanwhile. An error of w ends the writing, and Stop returns it. Start fails if the Capture
// is already started.
func (c *Capture) Start(w io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		return errors.New("pcap: the capture is running")
	}
	f, err := newFile(w)
	if err != nil {
		return err
	}
	c.live, c.err = f, nil
	return nil
}

// Stop writes what is pending and returns the first error since Start. It does not close the
// writer. Without Start it does nothing.
func (c *Capture) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		return nil
	}
	c.write(len(c.pending))
	f, err := c.live, c.err
	c.live, c.pending, c.err = nil, nil, nil
	if err != nil {
		return err
	}
	return f.flush()
}

// WriteLast writes the packets in memory, at most Config.Last, as a whole file.
func (c *Capture) WriteLast(w io.Writer) error {
	f, err := newFile(w)
	if err != nil {
		return err
	}
	c.mu.Lock()
	var rs []*record
	for i := range c.ring {
		if r := c.ring[(c.next+i)%len(c.ring)]; r != nil {
			one := *r
			one.packet = bytes.Clone(r.packet)
			rs = append(rs, &one)
		}
	}
	c.mu.Unlock() // w may be slow
	sortByTime(rs)
	for _, r := range rs {
		if err := f.write(r); err != nil {
			return err
		}
	}
	return f.flush()
}

// Tap records every packet that enters a pipe, as tcpdump at the sender would, until stop is
// called. A packet that the pipe loses has a comment with the reason.
//
//	stop := capture.Tap(host.Out())
func (c *Capture) Tap(p *udptest.Pipe) (stop func()) { return p.Tap(c.frame) }

// TapArrivals records the packets that arrive at the other end of a pipe, including
// duplicates, as tcpdump at the receiver would, until stop is called.
func (c *Capture) TapArrivals(p *udptest.Pipe) (stop func()) { return p.TapArrivals(c.frame) }

func (c *Capture) frame(f udptest.Frame) {
	r := record{at: f.Time, where: where{link: f.Pipe}}
	if f.Lost != "" {
		r.comment = "lost: " + f.Lost
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(r, f.IP)
}
