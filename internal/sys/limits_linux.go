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

// limits is what segmented sends may be, as far as a socket has found out: there is
// no way to ask. How many segments one may have is a matter of the kernel; whether
// there may be any, and how long, of the way to the destination.
type limits struct {
	segments atomic.Int32 // 1: no UDP_SEGMENT

	mu     sync.Mutex
	narrow atomic.Pointer[[]narrow] // never changed; nil: none
}

// narrow is a destination, while connected the zero Addr, to which segments of more
// bytes were refused. They don't fit its path MTU and leave as fragments, one by
// one; or its device computes no checksums, and nothing can be segmented.
type narrow struct {
	to      netip.Addr
	longest int // payload, bytes
	until   time.Time
}

const (
	// firstSegments is UDP_MAX_SEGMENTS of Linux 6.9; it was 64 before.
	firstSegments = 128
	oldSegments   = 64
	// narrowFor is how long a refusal is believed. To try again costs a few calls; and
	// the less it lasts the less a forged ICMP error does that comes at a bad moment.
	narrowFor = time.Second
	// maxNarrow bounds what a socket keeps.
	maxNarrow = 64
)

// longest is how long segments to an address may be.
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

// note remembers that segments to an address may have that length, or forgets it.
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

// rejection is the last segmented send that the kernel has refused in one SendBatch.
type rejection struct {
	set      bool
	at       position // of its first segment
	segments int32    // limit before
	noted    bool     // its destination
}

// lower lowers the limits after a segmented send was refused, so that the same
// datagrams leave another way at once. It returns false when the error has nothing
// to do with segmentation.
func (r *rejection) lower(l *limits, errno syscall.Errno, at position, to netip.Addr, count, size int) bool {
	if !r.set || r.at != at {
		*r = rejection{set: true, at: at, segments: l.segments.Load()}
	}
	longest := size - 1
	switch {
	case errno == unix.EINVAL && count > oldSegments:
		l.segments.Store(oldSegments) // perhaps too many for this kernel
		return true
	case errno == unix.EIO, errno == unix.EOPNOTSUPP:
		longest = 0 // the device has no checksum offload; udp(7) names EIO for it
	case errno == unix.EINVAL, errno == unix.EMSGSIZE:
	default:
		return false
	}
	l.segments.Store(r.segments) // so that was not it
	l.note(to, longest, time.Now().Add(narrowFor))
	r.noted = true
	return true
}

// undo undoes lower when the first segment is refused alone too.
func (r *rejection) undo(l *limits, at position, to netip.Addr) {
	if !r.set || r.at != at {
		return
	}
	l.segments.Store(r.segments)
	if r.noted {
		l.note(to, 0, time.Time{})
	}
	r.set = false
}

// maxConfirm is how often a segmented send is repeated whose error may be that of an
// ICMP error instead: each of those is met once. Only a burst of them that comes in
// between every time is mistaken for a refusal, for as long as narrowFor.
const maxConfirm = 8

// mayBeICMP says whether errno may come from an ICMP error about an older datagram:
// "fragmentation needed" or "source route failed". The socket hears of those only
// with a peer or with an error queue.
func (c *Conn) mayBeICMP(errno syscall.Errno) bool {
	return (errno == unix.EMSGSIZE || errno == unix.EOPNOTSUPP) && (c.path.reports.Load() || c.path.connected.Load())
}
