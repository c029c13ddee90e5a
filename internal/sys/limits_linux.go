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

// limits has what a socket has found out about segmented sends, since the kernel cannot be
// asked. The kernel limits the number of segments. The path to the destination decides whether
// segments are possible and how long they may be.
type limits struct {
	segments atomic.Int32 // 1: no UDP_SEGMENT

	mu     sync.Mutex
	narrow atomic.Pointer[[]narrow] // replaced, never changed; nil: none
}

// narrow is a destination (the zero Addr: the peer) to which the kernel rejects segments of
// more bytes. Either they exceed the path MTU, and then leave one by one as fragments, or the
// device computes no checksums, and then nothing can be segmented.
type narrow struct {
	to      netip.Addr
	longest int // payload, bytes
	until   time.Time
}

const (
	// firstSegments is UDP_MAX_SEGMENTS of Linux 6.9; it was 64 before.
	firstSegments = 128
	oldSegments   = 64
	// narrowFor is how long a rejection is remembered. Trying again costs a few calls, and a
	// short time limits the harm of a forged ICMP error at a bad moment.
	narrowFor = time.Second
	// maxNarrow bounds the destinations that a socket remembers.
	maxNarrow = 64
)

// longest returns how long segments to an address may be, in bytes.
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

// note records until when segments to an address may have only that length. A time in the
// past removes the record.
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

// rejection is the last segmented send of a SendBatch that the kernel rejected.
type rejection struct {
	set      bool
	at       position // of its first segment
	segments int32    // limit before
	noted    bool     // its destination
}

// lower lowers the limits after a segmented send was rejected, so that its datagrams can be
// sent in another form at once. It returns false if segmentation is not the cause of the error.
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

// undo undoes lower if the first segment alone is rejected, too.
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

// maxConfirm is how often a segmented send is repeated if an ICMP error may be the cause. A
// call returns each ICMP error once, so only a burst of them, one for each repetition, is
// mistaken for a rejection; the mistake lasts for narrowFor.
const maxConfirm = 8

// mayBeICMP reports whether errno may come from an ICMP error about an older datagram:
// "fragmentation needed" or "source route failed". Only sockets with a peer or with an error
// queue get those.
func (c *Conn) mayBeICMP(errno syscall.Errno) bool {
	return (errno == unix.EMSGSIZE || errno == unix.EOPNOTSUPP) && (c.path.reports.Load() || c.path.connected.Load())
}
