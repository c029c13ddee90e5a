// Package stats has the counters of one socket.
package stats

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
)

// Counters are what udp.Stats is made of, and mean what its fields mean. What the reader
// counts and what senders count is on cache lines of its own.
type Counters struct {
	Received, ReceivedBytes, Reads, ReadErrors atomic.Uint64
	Largest, Peak                              atomic.Uint64 // maxima
	Cut                                        atomic.Uint64
	Handled                                    atomic.Int64 // may be taken back, so it is signed
	Dropped                                    [Reasons]atomic.Uint64
	Refused, Panics, RefusalsLost              atomic.Uint64

	_ [64]byte

	Sent, SentBytes, Retried atomic.Uint64
	Failed                   [Failures]atomic.Uint64

	Kernel KernelDrops
}

// A Reason is why a datagram was dropped. It indexes Counters.Dropped.
type Reason int

// The reasons are the fields of udp.Drops.
const (
	NotDropped Reason = iota - 1
	DropQueue
	DropTruncated
	DropStranger
	DropHandler
	DropPanicked
	DropClosed
	Reasons
)

// A Failure is why a datagram was not sent. It indexes Counters.Failed.
type Failure int

// The failures are the fields of udp.SendFailures.
const (
	FailTooLarge Failure = iota
	FailFamily
	FailNoBuffers
	FailUnreachable
	FailDenied
	FailDeadline
	FailClosed
	FailOther
	Failures
)

// CountRead counts a read of n datagrams, and sometimes looks at the kernel's counter.
func (k *Counters) CountRead(sock socket.Socket, n, bytes int) {
	k.Received.Add(uint64(n))
	k.ReceivedBytes.Add(uint64(bytes))
	Raise(&k.Largest, uint64(n))
	if k.Reads.Add(1)%kernelDropsEvery == 0 {
		k.Kernel.Sample(sock, false)
	}
}

// kernelDropsEvery is how many reads pass between two looks at a counter of the
// kernel's that starts again after 4 billion.
const kernelDropsEvery = 1 << 16

// CountSent counts n datagrams that the system took.
func (k *Counters) CountSent(n, bytes int) {
	if n > 0 {
		k.Sent.Add(uint64(n))
		k.SentBytes.Add(uint64(bytes))
	}
}

// CountLast counts the datagrams that a closing socket has discarded from the kernel's
// buffer, and what the kernel itself had dropped.
func (k *Counters) CountLast(sock socket.Socket) {
	n := uint64(sock.Discard())
	k.Received.Add(n)
	k.Dropped[DropClosed].Add(n)
	k.Kernel.Sample(sock, true)
}

// Raise brings a maximum up to n.
func Raise(highest *atomic.Uint64, n uint64) {
	for old := highest.Load(); n > old; old = highest.Load() {
		if highest.CompareAndSwap(old, n) {
			return
		}
	}
}

// KernelDrops is the kernel's counter of dropped datagrams, kept when the socket is
// closed.
type KernelDrops struct {
	mu    sync.Mutex // guards what follows
	total int64
	final bool // the socket is closed
}

// Sample reads the counter. The socket extends the kernel's 32 bits, so it has to be
// asked before they wrap a second time.
func (k *KernelDrops) Sample(sock socket.Socket, final bool) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.final {
		k.total, k.final = sock.Drops(), final
	}
	return k.total
}
