// Package events queues functions that run on a socket's goroutine, like its callbacks.
package events

import "sync"

// MaxReports is the largest number of functions of PostReport in a Queue.
const MaxReports = 1 << 14

// A Queue holds functions until the reader takes them. Any goroutine may add one.
type Queue struct {
	Signaled chan struct{} // receives a value of Signal

	mu      sync.Mutex // guards what follows
	waiting []func()
	reports int // of waiting: those of PostReport
	ended   bool
}

// Init makes q ready for use.
func (q *Queue) Init() { q.Signaled = make(chan struct{}, 1) }

// Post adds f, which never runs if the socket has stopped.
func (q *Queue) Post(f func()) {
	q.mu.Lock()
	q.waiting = append(q.waiting, f)
	q.mu.Unlock()
}

// PostReport adds f, which reports an ICMP error. It returns false if too many wait.
func (q *Queue) PostReport(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || q.reports == MaxReports {
		return false
	}
	q.reports++
	q.waiting = append(q.waiting, func() {
		q.mu.Lock()
		q.reports--
		q.mu.Unlock()
		f()
	})
	return true
}

// Signal interrupts a pause of the reader.
func (q *Queue) Signal() {
	select {
	case q.Signaled <- struct{}{}:
	default:
	}
}

// Take removes and returns the functions that wait now.
func (q *Queue) Take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	fs := q.waiting
	q.waiting = nil
	return fs
}

// Waiting reports whether any function waits.
func (q *Queue) Waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// End makes PostReport fail, and returns how many of its functions will never run.
func (q *Queue) End() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	n := q.reports
	q.reports = 0
	return n
}
