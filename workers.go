package udp

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/stats"
)

// Workers is a [Handler] that spreads datagrams over goroutines, for handlers that
// take long or need more than one processor. Datagrams of one key are handled in the
// order of arrival, one at a time. It may serve several sockets.
//
// The Handler behind it is called on the workers' goroutines: Received and Refused at
// the same time for different keys. Started and Stopped are called as for any Handler,
// before and after all others. A panic in Received does not stop the worker; it is
// counted in [Drops.Panicked].
//
// [Conn.Shutdown] handles what waits in Workers before the socket closes; Close
// drops it and counts it in [Drops.Closed]. The goroutines start with the first
// socket and have ended when the last one has stopped.
//
// A Handler may also pass on what it has received to Workers that serve another socket.
// That is counted in [Workers.Stats] only. Workers without a socket of their own drop
// it. For a datagram that no socket received, Received is called with a nil Conn.
type Workers struct {
	cfg      WorkersConfig
	handlers []Handler // one, or one for each goroutine

	counters                  fifoCounters
	handled, panicked, closed atomic.Uint64

	mu      sync.Mutex // guards sockets and changes of pool
	sockets int
	pool    atomic.Pointer[pool] // nil while there is no socket
}

var _ Handler = (*Workers)(nil)

// WorkersConfig says what [NewWorkers] makes. Either Handler or PerWorker must be
// set.
type WorkersConfig struct {
	// N is the number of goroutines; 0 is GOMAXPROCS.
	N int

	// Key returns a number that is the same for datagrams whose order must be kept.
	// Nil is the sender's address and port. Key is called on the socket's goroutine and
	// must not keep the datagram. For an ICMP error it gets the payload that came back,
	// with the peer in From.
	Key func(Datagram) uint64

	// Capacity is how many datagrams may wait for each goroutine; 0 is 256.
	Capacity int

	// Overflow says what happens to a datagram if that many wait already.
	Overflow Overflow

	// Handler handles the datagrams, on all goroutines.
	Handler Handler

	// PerWorker makes a Handler for each goroutine, which needs no locks for state of
	// its own. It is called by NewWorkers with 0 to N-1. Started and Stopped are called
	// on each of these Handlers.
	PerWorker func(i int) Handler
}

const (
	defaultWaiting = 256
	maxWaiting     = 1 << 24 // takes a gigabyte for the channel alone
)

// NewWorkers makes Workers. Its error wraps [os.ErrInvalid] and says what is wrong
// in cfg.
func NewWorkers(cfg WorkersConfig) (*Workers, error) {
	w := &Workers{cfg: cfg}
	if err := w.init(); err != nil {
		return nil, fmt.Errorf("udp: workers: %w: %w", err, os.ErrInvalid)
	}
	return w, nil
}

// init checks the configuration and fills in what is zero.
func (w *Workers) init() error {
	cfg := &w.cfg
	switch {
	case cfg.N < 0:
		return errors.New("negative N")
	case cfg.Capacity < 0, cfg.Capacity > maxWaiting:
		return fmt.Errorf("capacity of %d", cfg.Capacity)
	case !cfg.Overflow.valid():
		return fmt.Errorf("invalid %v", cfg.Overflow)
	case (cfg.Handler == nil) == (cfg.PerWorker == nil):
		return errors.New("either Handler or PerWorker must be set")
	}
	if cfg.N == 0 {
		cfg.N = runtime.GOMAXPROCS(0)
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = defaultWaiting
	}
	w.handlers = []Handler{cfg.Handler}
	if cfg.PerWorker == nil {
		return nil
	}
	w.handlers = make([]Handler, cfg.N)
	for i := range w.handlers {
		if w.handlers[i] = cfg.PerWorker(i); w.handlers[i] == nil {
			return fmt.Errorf("PerWorker(%d) is nil", i)
		}
	}
	return nil
}

// Started implements [Handler].
func (w *Workers) Started(c *Conn) {
	w.mu.Lock()
	if w.sockets++; w.sockets == 1 {
		w.pool.Store(newPool(w))
	}
	w.mu.Unlock()
	for _, h := range w.handlers {
		h.Started(c)
	}
}

// Received implements [Handler]. It is for Handlers that pass datagrams on: a socket
// whose Handler is the Workers does not call it.
func (w *Workers) Received(c *Conn, d Datagram) {
	p := w.pool.Load()
	if p == nil {
		w.counters.received.Add(1)
		w.counters.dropped.Add(1)
		return
	}
	p.choose(d).pass(c, d)
}

// Refused implements [Handler]. The refusal waits among the datagrams of its peer.
func (w *Workers) Refused(c *Conn, r *Refusal) {
	p := w.pool.Load()
	if p == nil {
		r.lost()
		return
	}
	d := Datagram{Data: r.Payload, From: r.Peer}
	f := p.choose(d)
	f.ending.RLock()
	defer f.ending.RUnlock()
	if f.ended {
		r.lost()
		return
	}
	passed := c == nil || c.consumer.workers != w // by another Handler: the socket does not wait for it
	d.packet = &packet{header: &header{conn: c, refusal: r}, queue: f, passed: passed}
	if !passed {
		c.consumer.work.Begin()
	}
	if f.put(c, &d) != stats.NotDropped {
		r.lost()
		if !passed {
			c.consumer.work.End()
		}
	}
}

// Stopped implements [Handler]. The socket's datagrams have left the Workers
// before it is called.
func (w *Workers) Stopped(c *Conn, err error) {
	defer w.release()
	for _, h := range w.handlers {
		h.Stopped(c, err)
	}
}

// release ends the goroutines after the last socket.
func (w *Workers) release() {
	w.mu.Lock()
	var p *pool
	if w.sockets--; w.sockets == 0 {
		p = w.pool.Swap(nil)
	}
	w.mu.Unlock()
	if p != nil {
		p.end()
	}
}

// WorkersStats are the counters of one [Workers] for all datagrams, those of its
// sockets and those passed on. When nothing is in progress, Received is the sum of
// Handled, Dropped, Panicked, Closed and Waiting.
type WorkersStats struct {
	Received uint64 // datagrams given to the Workers
	Handled  uint64 // Received of the Handler has returned
	Dropped  uint64 // there was no room, or no socket
	Panicked uint64 // Received of the Handler panicked
	Closed   uint64 // waited when their socket closed
	Peak     uint64 // the most that waited for one goroutine
	Waiting  int    // that wait now
}

// Stats returns the counters. It may be called at any time.
func (w *Workers) Stats() WorkersStats {
	s := WorkersStats{
		Handled: w.handled.Load(), Panicked: w.panicked.Load(), Closed: w.closed.Load(),
		Dropped: w.counters.dropped.Load(), Received: w.counters.received.Load(), Peak: w.counters.peak.Load(),
	}
	if p := w.pool.Load(); p != nil {
		for i := range p.fifos {
			s.Waiting += len(p.fifos[i].ch)
		}
	}
	return s
}

// All is like [Stats.All].
func (s WorkersStats) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		_ = yield("received", float64(s.Received)) && yield("handled", float64(s.Handled)) &&
			yield("dropped", float64(s.Dropped)) && yield("panicked", float64(s.Panicked)) &&
			yield("closed", float64(s.Closed)) && yield("peak", float64(s.Peak)) &&
			yield("waiting", float64(s.Waiting))
	}
}

// pool is a set of goroutines, each with a fifo of its own.
type pool struct {
	workers *Workers
	seed    maphash.Seed
	fifos   []fifo
	running sync.WaitGroup
}

func newPool(w *Workers) *pool {
	p := &pool{workers: w, seed: maphash.MakeSeed(), fifos: make([]fifo, w.cfg.N)}
	p.running.Add(w.cfg.N)
	for i := range p.fifos {
		f := &p.fifos[i]
		f.init(w.cfg.Capacity, w.cfg.Overflow, max(1, wholeBuffers/w.cfg.N), &w.counters)
		f.working = true
		go p.work(i)
	}
	return p
}

// choose returns the fifo of d's key.
func (p *pool) choose(d Datagram) *fifo {
	var sum uint64
	if key := p.workers.cfg.Key; key == nil {
		sum = maphash.Comparable(p.seed, d.From)
	} else {
		sum = maphash.Comparable(p.seed, key(d)) // keys may be small numbers
	}
	return &p.fifos[sum%uint64(len(p.fifos))]
}

// work is goroutine i.
func (p *pool) work(i int) {
	over := false
	defer func() {
		if over {
			p.running.Done()
		} else {
			go p.work(i) // Received has called runtime.Goexit
		}
	}()
	h := p.workers.handlers[min(i, len(p.workers.handlers)-1)]
	f := &p.fifos[i]
	for d := range f.ch {
		p.handle(h, &d)
		if len(f.ch) == 0 {
			f.flushReplies()
		}
	}
	over = true
}

var errWorkerGoexit = errors.New("runtime.Goexit")

// handle calls the Handler for one datagram.
func (p *pool) handle(h Handler, d *Datagram) {
	head := d.header()
	conn, passed, w := head.conn, d.packet.passed, p.workers
	drop := func(all *atomic.Uint64, why stats.Reason) {
		all.Add(1)
		if !passed {
			conn.countDropped(*d, why)
		}
	}
	returned := false
	defer func() {
		if v := recover(); !returned {
			if v == nil {
				v = errWorkerGoexit
			}
			if head.refusal == nil {
				drop(&w.panicked, stats.DropPanicked)
			}
			if conn != nil {
				conn.guard.Panicked("Received", v)
			}
		}
		d.Release()
		if !passed {
			conn.consumer.work.End()
		}
	}()
	switch {
	case conn != nil && conn.closed():
		if head.refusal != nil {
			head.refusal.lost()
		} else {
			drop(&w.closed, stats.DropClosed)
		}
	case head.refusal != nil:
		h.Refused(conn, head.refusal)
	default:
		h.Received(conn, *d)
		w.handled.Add(1)
		if !passed {
			conn.stats.Handled.Add(1)
		}
	}
	returned = true
}

// end closes the fifos and waits for the goroutines.
func (p *pool) end() {
	for i := range p.fifos {
		p.fifos[i].end()
	}
	p.running.Wait()
}
