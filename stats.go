package udp

import "sync/atomic"

// Stats are the counters of one socket since it was made. At rest, which is
// when no callback runs and no datagram is on its way into one,
//
//	Received == Handled + Dropped.Total()
//
// holds exactly; datagrams that wait in a [Queue] or in [Workers] are Handled.
type Stats struct {
	Received      uint64 // datagrams read from the system
	ReceivedBytes uint64 // their payloads
	Handled       uint64 // Received returned, and no Queue or Workers dropped it after
	Dropped       Drops  // each by why it was not handled
	Reads         uint64 // reads that brought datagrams: Received / Reads is how well they batch
	ReadErrors    uint64 // reads that failed and were survived

	// KernelDrops are the datagrams that the socket's receive buffer had no room
	// for, and on Linux also those whose checksum was wrong or that a socket
	// filter refused: they are in no other counter. -1 where the system can't say
	// (everywhere but Linux and the simulated network).
	KernelDrops int64

	Sent       uint64 // datagrams the system took
	SentBytes  uint64 // their payloads
	SendErrors uint64 // datagrams it did not, each told to the caller or the Logger
	SendFailed SendFailures
	Retried    uint64 // sends repeated, since they only met an older datagram's error
	Refused    uint64 // ICMP messages told to Handler.Refused
	Panics     uint64 // panics in callbacks; those in Received are in Dropped.Panicked too
}

// Drops counts datagrams that were read and not handled, by the reason.
type Drops struct {
	Queue     uint64 // a Queue or Workers was full
	Truncated uint64 // longer than Config.MaxDatagram
	Stranger  uint64 // on a connected socket not from its peer; to a group not joined
	Panicked  uint64 // Received panicked, or ended its goroutine
	Closed    uint64 // read, or waiting in the kernel, when the socket was closed
}

// Total is the sum of all drops.
func (d Drops) Total() uint64 {
	return d.Queue + d.Truncated + d.Stranger + d.Panicked + d.Closed
}

// SendFailures counts the datagrams of Stats.SendErrors by the reason.
type SendFailures struct {
	TooLarge    uint64 // ErrTooLarge
	Family      uint64 // ErrFamily, or no valid address
	NoBuffers   uint64 // ENOBUFS or ENOMEM, also after waiting
	Unreachable uint64 // no route
	Denied      uint64 // EPERM: a firewall
	Deadline    uint64 // the write deadline passed
	Closed      uint64 // the socket was closed
	Other       uint64
}

// counters are what Stats is made of. The reader adds to its own once a read,
// not once a datagram. Handled may be taken back, so it is signed.
type counters struct {
	received, receivedBytes, reads, readErrors   atomic.Uint64
	handled                                      atomic.Int64
	queue, truncated, stranger, panicked, closed atomic.Uint64
	sent, sentBytes, retried, refused, panics    atomic.Uint64
	failed                                       [failures]atomic.Uint64
	kernelDrops                                  atomic.Int64 // once closed
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
	k := &c.stats
	s := Stats{
		// Read before what they are a part of, so that a poll never shows more
		// handled than received.
		Handled: uint64(max(0, k.handled.Load())),
		Dropped: Drops{
			Queue: k.queue.Load(), Truncated: k.truncated.Load(), Stranger: k.stranger.Load(),
			Panicked: k.panicked.Load(), Closed: k.closed.Load(),
		},
		Received: k.received.Load(), ReceivedBytes: k.receivedBytes.Load(),
		Reads: k.reads.Load(), ReadErrors: k.readErrors.Load(),
		Sent: k.sent.Load(), SentBytes: k.sentBytes.Load(),
		Retried: k.retried.Load(), Refused: k.refused.Load(), Panics: k.panics.Load(),
		SendFailed: SendFailures{
			TooLarge: k.failed[failTooLarge].Load(), Family: k.failed[failFamily].Load(),
			NoBuffers: k.failed[failNoBuffers].Load(), Unreachable: k.failed[failUnreachable].Load(),
			Denied: k.failed[failDenied].Load(), Deadline: k.failed[failDeadline].Load(),
			Closed: k.failed[failClosed].Load(), Other: k.failed[failOther].Load(),
		},
		KernelDrops: k.kernelDrops.Load(),
	}
	for i := range k.failed {
		s.SendErrors += k.failed[i].Load()
	}
	select {
	case <-c.done:
	default:
		s.KernelDrops = c.sock.Drops()
	}
	return s
}
