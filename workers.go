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

// Workers is a [Handler] that distributes datagrams to goroutines, for work that takes
// long or needs more than one processor. Datagrams of one key are handled in the order
// of arrival, one at a time. Workers may serve several sockets.
//
// The Handler behind it is called on the workers' goroutines. Received and Refused are
// called at the same time for different keys. Started is called before them and
// Stopped after them, as for any Handler. A panic in Received does not stop the
// worker; it is counted in [Drops.Panicked].
//
// [Conn.Shutdown] waits until the Workers have handled the socket's datagrams, also those
// that another Handler has passed on. Close drops them; [WorkersStats].Closed counts all,
// and [Drops.Closed] those that were not passed on. The goroutines start with the first
// socket and end with the last.
//
// The Handler of another socket may pass datagrams on to Workers. [Workers.Stats]
// counts them, the sockets' Stats do not. Workers that serve no socket drop them. For
// a datagram that no socket received, Received is called with a nil Conn.
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

// WorkersConfig configures [NewWorkers]. Either Handler or PerWorker must be set.
type WorkersConfig struct {
	// N is the number of goroutines; 0 is GOMAXPROCS.
	N int

	// Key returns the same number for datagrams whose order must be kept. Nil means
	// the sender's address and port. Key is called on the socket's goroutine and must
	// not keep the datagram. For an ICMP error, Data is the payload that it quotes,
	// and From the peer.
	Key func(Datagram) uint64

	// Capacity is how many datagrams may wait for each goroutine; 0 is 256.
	Capacity int

	// Overflow selects what happens to a datagram when Capacity datagrams wait
	// already.
	Overflow Overflow

	// Handler is called on all goroutines, at the same time.
	Handler Handler

	// PerWorker makes a Handler for each goroutine, so that its state needs no lock.
	// NewWorkers calls it with 0 to N-1. Each of these Handlers gets Started and
	// Stopped.
	PerWorker func(i int) Handler
}

const (
	defaultWaiting = 256
	maxWaiting     = 1 << 24 // takes a gigabyte for the channel alone
)

// NewWorkers makes Workers. If cfg is invalid, the error says why and wraps
// [os.ErrInvalid].
func NewWorkers(cfg WorkersConfig) (*Workers, error) {
	w := &Workers{cfg: cfg}
	if err := w.init(); err != nil {
		return nil, fmt.Errorf("udp: workers: %w: %w", err, os.ErrInvalid)
	}
	return w, nil
}

// init checks the configuration and fills in defaults.
func (w *Workers) init() error {
	cfg := &w.cfg
	switch {
	case cfg.N < 0:
		return errors.New("negative N")
	case cfg.Capacity < 0, cfg.Capacity > maxWaiting:
		return fmt.Errorf("the Capacity is %d, not from 0 to %d", cfg.Capacity, maxWaiting)
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
	w.each(c, "Started", w.handlers, func(h Handler) { h.Started(c) })
}

// each calls a method of all handlers, even if one panics or calls runtime.Goexit.
func (w *Workers) each(c *Conn, method string, hs []Handler, f func(Handler)) {
	if len(hs) == 0 {
		return
	}
	defer w.each(c, method, hs[1:], f)
	if !c.ok() { // in a test of the user
		f(hs[0])
		return
	}
	c.guard.Call(method, func() { f(hs[0]) })
}

// Received implements [Handler]. Call it to pass a datagram on from another Handler; a
// socket whose Handler is the Workers does not call it.
func (w *Workers) Received(c *Conn, d Datagram) {
	p := w.pool.Load()
	if p == nil {
		w.counters.received.Add(1)
		w.counters.dropped.Add(1)
		return
	}
	p.choose(d).pass(c, d)
}

// Refused implements [Handler]. The ICMP error waits in order with the datagrams of
// its key.
func (w *Workers) Refused(c *Conn, r *Refusal) {
	accepted := false
	defer func() {
		if !accepted { // Key may have panicked
			r.lost()
		}
	}()
	p := w.pool.Load()
	if p == nil {
		return
	}
	d := Datagram{Data: r.Payload, From: r.Peer}
	f := p.choose(d)
	if !f.Enter() {
		return
	}
	defer f.Leave()
	d.packet = &packet{header: &header{conn: c, refusal: r}, queue: f, passed: c == nil || c.consumer.workers != w}
	f.begin(c)
	if accepted = f.put(c, &d) == stats.NotDropped; !accepted {
		f.end(c)
	}
}

// Stopped implements [Handler]. It is called after the socket's datagrams were handled
// or dropped.
func (w *Workers) Stopped(c *Conn, err error) {
	defer w.release()
	w.each(c, "Stopped", w.handlers, func(h Handler) { h.Stopped(c, err) })
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

// WorkersStats are the counters of one [Workers], for the datagrams of its sockets and
// those passed on by Handlers. While no Received runs, Received is the sum of Handled,
// Dropped, Panicked, Closed and Waiting.
type WorkersStats struct {
	Received uint64 // datagrams given to the Workers
	Handled  uint64 // Received of the Handler returned
	Dropped  uint64 // dropped because there was no room, or no socket
	Panicked uint64 // Received of the Handler panicked
	Closed   uint64 // discarded because their socket was closed
	Peak     uint64 // most that waited for one goroutine
	Waiting  int    // waiting now
}

// Stats returns the counters. It may be called at any time.
func (w *Workers) Stats() WorkersStats {
	s := WorkersStats{
		Handled: w.handled.Load(), Panicked: w.panicked.Load(), Closed: w.closed.Load(),
		Dropped: w.counters.dropped.Load(), Received: w.counters.received.Load(), Peak: w.counters.peak.Load(),
	}
	if p := w.pool.Load(); p != nil {
		for i := range p.fifos {
			s.Waiting += len(p.fifos[i].C)
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
			go p.work(i) // Received called runtime.Goexit
		}
	}()
	h := p.workers.handlers[min(i, len(p.workers.handlers)-1)]
	f := &p.fifos[i]
	for d := range f.C {
		p.handle(h, &d)
		if len(f.C) == 0 {
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
			method := "Refused"
			if head.refusal == nil {
				method = "Received"
				drop(&w.panicked, stats.DropPanicked)
			}
			if conn != nil {
				conn.guard.Panicked(method, v)
			}
		}
		d.Release()
		d.packet.queue.end(conn)
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
		p.fifos[i].End()
	}
	p.running.Wait()
}
