package udp

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
)

// Stats are the counters of one socket since it was made. While no callback runs and
// none is about to,
//
//	Received == Handled + Dropped.Total()
//
// holds exactly. If the socket's Handler is a [Queue], a datagram is Handled once it
// lies in the channel. If it is [Workers], a datagram is Handled when the Handler
// behind them has returned; Received - Handled - Dropped.Total() are in flight.
// Datagrams that a Handler of the user passes on are Handled, whatever the Queue or
// the Workers do with them: see [Queue.Stats] and [Workers.Stats].
type Stats struct {
	Received      uint64 // datagrams read from the system
	ReceivedBytes uint64 // payloads of those, but for what Close found waiting in the kernel
	Handled       uint64 // Received returned, and nobody dropped the datagram
	Dropped       Drops  // each by why it was not handled
	Reads         uint64 // reads that returned datagrams; Received / Reads is their average
	LargestRead   uint64 // the most datagrams that one read brought
	QueuePeak     uint64 // the most datagrams that waited in the Queue, or for one goroutine of Workers
	ReadErrors    uint64 // reads that failed without stopping the socket
	Cut           uint64 // datagrams that a [PacketConn] has read into a buffer that was too short

	// KernelDrops are the datagrams that the socket's receive buffer had no room for.
	// On Linux they include those whose checksum was wrong or that a socket filter
	// rejected. No other counter has them. A coalesced packet that Linux had joined
	// counts as one: see [Config.NoOffload]. -1 where the system can't say (everywhere
	// but Linux and the simulated network).
	KernelDrops int64

	Sent       uint64       // datagrams the system took
	SentBytes  uint64       // their payloads
	SendErrors uint64       // datagrams it did not take: returned to the caller, or passed to Config.OnSendError
	SendFailed SendFailures // the same by the reason
	Retried    uint64       // sends repeated, since they returned the error of an older datagram
	Refused    uint64       // ICMP errors passed to Handler.Refused
	// RefusalsLost are ICMP errors that Handler.Refused was not called for. Either more
	// than 10,000 waited for it, the socket was closed, the control messages of one
	// were cut off, or a Queue had no room for it. Those that the kernel drops while
	// the receive buffer is full are not included: the kernel does not count them.
	RefusalsLost uint64
	Rebinds      uint64 // repairs of a socket that was destroyed from outside, or whose source address was removed
	Panics       uint64 // panics in callbacks and in Config.Logger; those in Received are in Dropped.Panicked too
}

// Drops counts datagrams that were read and not handled, by the reason.
type Drops struct {
	Queue     uint64 // a Queue or Workers was full, or had ended
	Truncated uint64 // longer than Config.MaxDatagram, or without the control messages it needs
	Stranger  uint64 // unexpected source: not the connected socket's peer; or to a group not joined
	Handler   uint64 // the Handler rejected it: see [Datagram.Drop]
	Panicked  uint64 // Received panicked, or ended its goroutine
	Closed    uint64 // unhandled when the socket was closed; also in the kernel (not on Windows and Plan 9)
}

// Total is the sum of all drops.
func (d Drops) Total() uint64 {
	return d.Queue + d.Truncated + d.Stranger + d.Handler + d.Panicked + d.Closed
}

// SendFailures counts the datagrams of Stats.SendErrors by the reason.
type SendFailures struct {
	TooLarge    uint64 // ErrTooLarge
	Family      uint64 // ErrFamily, or no valid address
	NoBuffers   uint64 // ENOBUFS or ENOMEM, also after waiting
	Unreachable uint64 // no route, or the interface or the source address is gone
	Denied      uint64 // EPERM, EACCES: a firewall, or a broadcast without Config.Broadcast
	Deadline    uint64 // the write deadline passed
	Closed      uint64 // the socket was closed
	Other       uint64 // anything else
}

// counters are what Stats is made of. Who counts what is on cache lines of its
// own: the reader's first, then what senders count.
type counters struct {
	received, receivedBytes, reads, readErrors atomic.Uint64
	largest, peak                              atomic.Uint64 // maxima
	cut                                        atomic.Uint64
	handled                                    atomic.Int64 // may be taken back, so it is signed
	dropped                                    [reasons]atomic.Uint64
	refused, panics, refusalsLost              atomic.Uint64

	_ [64]byte

	sent, sentBytes, retried atomic.Uint64
	failed                   [failures]atomic.Uint64

	kernel kernelDrops
}

// reason indexes counters.dropped.
type reason int

const (
	notDropped reason = iota - 1 // not dropped
	dropQueue
	dropTruncated
	dropStranger
	dropHandler
	dropPanicked
	dropClosed
	reasons
)

// read counts a read of n datagrams, and returns how many reads there were.
func (k *counters) read(n, bytes int) uint64 {
	k.received.Add(uint64(n))
	k.receivedBytes.Add(uint64(bytes))
	raise(&k.largest, uint64(n))
	return k.reads.Add(1)
}

// sentDatagrams counts n datagrams that the system took.
func (k *counters) sentDatagrams(n, bytes int) {
	if n > 0 {
		k.sent.Add(uint64(n))
		k.sentBytes.Add(uint64(bytes))
	}
}

// waited notes that n datagrams wait for a consumer.
func (k *counters) waited(n int) { raise(&k.peak, uint64(n)) }

// raise brings a maximum up to n.
func raise(highest *atomic.Uint64, n uint64) {
	for old := highest.Load(); n > old; old = highest.Load() {
		if highest.CompareAndSwap(old, n) {
			return
		}
	}
}

// kernelDrops is the last answer of the kernel, kept when the socket is gone. Stats
// asks, and now and then the reader, so that the socket sees each time that the
// kernel's 32 bits have wrapped.
type kernelDrops struct {
	mu    sync.Mutex // guards what follows
	total int64
	final bool // the socket is gone
}

func (k *kernelDrops) sample(sock socket.Socket, final bool) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.final {
		k.total, k.final = sock.Drops(), final
	}
	return k.total
}

// failure indexes counters.failed.
type failure int

const (
	failTooLarge failure = iota
	failFamily
	failNoBuffers
	failUnreachable
	failDenied
	failDeadline
	failClosed
	failOther
	failures
)

// Stats returns the counters. It may be called at any time, from any goroutine,
// and after Close, when it gives the last values.
func (c *Conn) Stats() Stats {
	if !c.ok() {
		return Stats{}
	}
	k := &c.stats
	s := Stats{
		// Read before what they are a part of, so that a poll never shows more
		// handled and dropped than received: what a Queue drops was Handled before.
		Dropped: Drops{
			Queue: k.dropped[dropQueue].Load(), Truncated: k.dropped[dropTruncated].Load(),
			Stranger: k.dropped[dropStranger].Load(), Panicked: k.dropped[dropPanicked].Load(),
			Handler: k.dropped[dropHandler].Load(),
			Closed:  k.dropped[dropClosed].Load(),
		},
		Handled:  uint64(max(0, k.handled.Load())),
		Received: k.received.Load(), ReceivedBytes: k.receivedBytes.Load(),
		Reads: k.reads.Load(), ReadErrors: k.readErrors.Load(), Cut: k.cut.Load(),
		LargestRead: k.largest.Load(), QueuePeak: k.peak.Load(),
		Sent: k.sent.Load(), SentBytes: k.sentBytes.Load(),
		Retried: k.retried.Load(), Refused: k.refused.Load(), Panics: k.panics.Load(),
		SendFailed: SendFailures{
			TooLarge: k.failed[failTooLarge].Load(), Family: k.failed[failFamily].Load(),
			NoBuffers: k.failed[failNoBuffers].Load(), Unreachable: k.failed[failUnreachable].Load(),
			Denied: k.failed[failDenied].Load(), Deadline: k.failed[failDeadline].Load(),
			Closed: k.failed[failClosed].Load(), Other: k.failed[failOther].Load(),
		},
		KernelDrops:  k.kernel.sample(c.sock, false),
		RefusalsLost: k.refusalsLost.Load() + c.sock.LostReports(),
		Rebinds:      c.sock.Rebinds(),
	}
	// Of what was read, not read again: senders go on meanwhile.
	f := &s.SendFailed
	s.SendErrors = f.TooLarge + f.Family + f.NoBuffers + f.Unreachable + f.Denied + f.Deadline + f.Closed + f.Other
	return s
}
