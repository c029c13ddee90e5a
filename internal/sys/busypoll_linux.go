//go:build !udpbasic

package sys

import (
	"runtime"
	"time"
)

// busyPoll decides whether a reader that has found nothing reads again for a few
// microseconds before it waits. To wait costs more than that twice over: the
// sender has to wake the reader, which is part of its system call on loopback, and
// the reader's thread has to be scheduled. It pays only where datagrams come one
// soon after the other, so it is done as long as it mostly succeeds; otherwise it
// is tried again once in a while.
//
// It is only for a processor that nobody else needs. Other goroutines get theirs
// before each read. Other programs show by the time that it took: who never sleeps
// is scheduled after those who do, for milliseconds, and that costs more than
// being woken. So do other sockets that poll, each of which holds its buffers.
type busyPoll struct {
	on    bool
	now   func() time.Time
	luck  int       // how often it may fail; at 0 or below it is not done
	empty int       // reads in a row that found nothing
	began time.Time // when the first of them was
}

const (
	emptyReads = 12 // 0.3 µs each
	mostLuck   = 8
	badLuck    = 3    // what a failure costs; a success gives 1
	noLuck     = 128  // waits until it is tried again
	contended  = 8192 // the same when somebody else needed the processor
	tooLong    = 250 * time.Microsecond
)

// found is called when a read has found something.
func (b *busyPoll) found() {
	if b.empty == 0 {
		return
	}
	b.empty = 0
	if b.now().Sub(b.began) > tooLong {
		b.luck = -contended
		return
	}
	b.luck = min(b.luck+1, mostLuck)
}

// again says whether to read once more before waiting.
func (b *busyPoll) again() bool {
	if !b.on {
		return false
	}
	if b.luck <= 0 {
		b.luck++
		return false
	}
	if b.empty++; b.empty <= emptyReads {
		if b.empty == 1 {
			b.began = b.now()
		}
		runtime.Gosched()
		return true
	}
	b.empty = 0
	if b.luck -= badLuck; b.luck <= 0 {
		b.luck = -noLuck
	}
	if b.now().Sub(b.began) > tooLong {
		b.luck = -contended
	}
	return false
}
