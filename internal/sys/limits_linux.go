//go:build !udpbasic

package sys

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limits is what trains may be, as far as a socket has found out: there is no way
// to ask. How many datagrams make one is a matter of the kernel and its devices;
// how long these may be, of the way to the destination.
type limits struct {
	segments atomic.Int32 // 1: no UDP_SEGMENT

	mu     sync.Mutex
	narrow atomic.Pointer[[]narrow] // never changed; nil: none
}

// narrow is a destination, while connected the zero Addr, to which trains of
// longer datagrams were refused: those don't fit its path MTU, and leave as
// fragments, one by one.
type narrow struct {
	to      netip.Addr
	longest int // payload, bytes
	until   time.Time
}

const (
	// firstSegments is UDP_MAX_SEGMENTS of Linux 6.9; it was 64 before.
	firstSegments = 128
	oldSegments   = 64
	// narrowFor is how long a path MTU is believed: Linux forgets what it has learnt
	// itself after 10 minutes (net.ipv4.route.mtu_expires), and a try costs a call.
	narrowFor = time.Minute
	// maxNarrow bounds what forged ICMP messages can make a socket keep.
	maxNarrow = 64
)

// longest is how long the datagrams of a train to an address may be.
func (l *limits) longest(to netip.Addr) int {
	all := l.narrow.Load()
	if all == nil {
		return math.MaxInt
	}
	for i := range *all {
		if n := &(*all)[i]; n.to == to && time.Now().Before(n.until) {
			return n.longest
		}
	}
	return math.MaxInt
}

// note remembers that trains to an address may have datagrams of that length, or
// forgets it.
func (l *limits) note(to netip.Addr, longest int, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []narrow
	if old := l.narrow.Load(); old != nil {
		now := time.Now()
		all = slices.DeleteFunc(slices.Clone(*old), func(n narrow) bool { return n.to == to || now.After(n.until) })
	}
	if time.Now().Before(until) {
		all = append(all, narrow{to, longest, until})
		all = all[max(0, len(all)-maxNarrow):]
	}
	if len(all) == 0 {
		l.narrow.Store(nil)
		return
	}
	l.narrow.Store(&all)
}

// refusal is the last train that the kernel has refused in one SendBatch.
type refusal struct {
	set      bool
	at       position // of its first datagram
	segments int32    // limit before
	noted    bool     // its destination
}

// train lowers the limits after a train was refused, so that the same datagrams
// leave another way at once. It returns false when the error has nothing to do
// with trains.
func (r *refusal) train(l *limits, errno syscall.Errno, at position, to netip.Addr, count, size int) bool {
	if !r.set || r.at != at {
		*r = refusal{set: true, at: at, segments: l.segments.Load()}
	}
	switch {
	case errno == unix.EIO, errno == unix.EOPNOTSUPP:
		l.segments.Store(1) // the device has no checksum offload; udp(7) names EIO for it
	case errno == unix.EINVAL && count > oldSegments:
		l.segments.Store(oldSegments) // perhaps too many for this kernel
	case errno == unix.EINVAL, errno == unix.EMSGSIZE:
		l.segments.Store(r.segments) // so that was not it
		l.note(to, size-1, time.Now().Add(narrowFor))
		r.noted = true
	default:
		return false
	}
	return true
}

// single undoes train when its first datagram is refused alone too.
func (r *refusal) single(l *limits, at position, to netip.Addr) {
	if !r.set || r.at != at {
		return
	}
	l.segments.Store(r.segments)
	if r.noted {
		l.note(to, 0, time.Time{})
	}
	r.set = false
}
