//go:build !udpbasic

package sys

import (
	"runtime"
	"time"
)

// busyPoll decides whether a reader that has found nothing reads again for a few
// microseconds before it waits. Waiting costs twice: the sender has to wake the
// reader, on loopback within its own system call, and the reader's thread has to be
// scheduled. Polling saves that only if datagrams follow each other closely. So it
// goes on as long as it mostly succeeds, and is otherwise tried now and then.
//
// It is only for a processor that nothing else needs. Other goroutines run before
// each read. Other programs are noticed by the time that a round took: the scheduler
// prefers threads that sleep to one that does not, for milliseconds, which costs more
// than being woken. Other sockets that poll, each with its buffers, are noticed too.
type busyPoll struct {
	on    bool
	now   func() time.Time
	luck  int       // how often it may still fail; at 0 or below the reader does not poll
	empty int       // reads in a row that found nothing
	began time.Time // when the first of them was
}

const (
	emptyReads = 12 // 0.3 µs each
	mostLuck   = 8
	badLuck    = 3    // what a failure costs; a success gives 1
	noLuck     = 128  // waits until it is tried again
	contended  = 8192 // the same after another thread needed the processor
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

// again reports whether to read once more before waiting.
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
