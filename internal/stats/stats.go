// Package stats has the counters of one socket.
package stats

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
)

// Counters are the counters behind udp.Stats. Those of the reader and those of senders
// are on different cache lines.
type Counters struct {
	Received, ReceivedBytes, Reads, ReadErrors atomic.Uint64
	Largest, Peak                              atomic.Uint64 // maxima
	Cut                                        atomic.Uint64
	Handled                                    atomic.Int64 // signed, because counting can be undone
	Dropped                                    [Reasons]atomic.Uint64
	Refused, Panics, RefusalsLost              atomic.Uint64

	_ [64]byte

	Sent, SentBytes, Retried atomic.Uint64
	Failed                   [Failures]atomic.Uint64

	Kernel KernelDrops
}

// A Reason says why a datagram was dropped. It indexes Counters.Dropped.
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

// A Failure says why a datagram was not sent. It indexes Counters.Failed.
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

// CountRead counts a read of n datagrams, and sometimes reads the kernel's drop counter.
func (k *Counters) CountRead(sock socket.Socket, n, bytes int) {
	k.Received.Add(uint64(n))
	k.ReceivedBytes.Add(uint64(bytes))
	Raise(&k.Largest, uint64(n))
	if k.Reads.Add(1)%kernelDropsEvery == 0 {
		k.Kernel.Sample(sock, false)
	}
}

// kernelDropsEvery is the number of reads between two reads of the kernel's drop counter,
// which wraps after 4 billion.
const kernelDropsEvery = 1 << 16

// CountSent counts n datagrams that the system accepted.
func (k *Counters) CountSent(n, bytes int) {
	if n > 0 {
		k.Sent.Add(uint64(n))
		k.SentBytes.Add(uint64(bytes))
	}
}

// CountLast counts the datagrams that a closing socket discarded from the kernel's
// buffer, and those that the kernel had dropped.
func (k *Counters) CountLast(sock socket.Socket) {
	n := uint64(sock.Discard())
	k.Received.Add(n)
	k.Dropped[DropClosed].Add(n)
	k.Kernel.Sample(sock, true)
}

// Raise raises a maximum to n.
func Raise(highest *atomic.Uint64, n uint64) {
	for old := highest.Load(); n > old; old = highest.Load() {
		if highest.CompareAndSwap(old, n) {
			return
		}
	}
}

// KernelDrops is the kernel's counter of dropped datagrams. It outlives the socket.
type KernelDrops struct {
	mu    sync.Mutex // guards what follows
	total int64
	final bool // the socket is closed
}

// Sample reads the counter. The socket extends the kernel's 32 bits, so it must be read
// before they wrap twice.
func (k *KernelDrops) Sample(sock socket.Socket, final bool) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.final {
		k.total, k.final = sock.Drops(), final
	}
	return k.total
}
