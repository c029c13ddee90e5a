//go:build !udpbasic

package sys

// busyPoll decides whether a reader that has found nothing reads again for a few
// microseconds before it waits. To wait costs more than that twice over: the
// sender has to wake the reader, which is part of its system call on loopback, and
// the reader's thread has to be scheduled. It pays only where datagrams come one
// soon after the other, so it is done as long as it mostly succeeds; otherwise it
// is tried again once in a while.
type busyPoll struct {
	luck  int // how often it may fail; at 0 or below it is not done
	empty int // reads in a row that found nothing
}

const (
	emptyReads = 12 // 0.3 µs each
	mostLuck   = 8
	badLuck    = 3   // what a failure costs; a success gives 1
	noLuck     = 128 // waits until it is tried again
)

// found is called when a read has found something.
func (b *busyPoll) found() {
	if b.empty > 0 {
		b.luck = min(b.luck+1, mostLuck)
		b.empty = 0
	}
}

// again says whether to read once more before waiting.
func (b *busyPoll) again() bool {
	if b.luck <= 0 {
		b.luck++
		return false
	}
	if b.empty++; b.empty <= emptyReads {
		return true
	}
	b.empty = 0
	if b.luck -= badLuck; b.luck <= 0 {
		b.luck = -noLuck
	}
	return false
}
