package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxBatch = 256     // records that are published or spooled together
	maxBytes = 1 << 20 // about, of these
	window   = 16      // batches that wait for acknowledgments
	waiting  = 1024    // records that wait for the publisher
	retry    = 100 * time.Millisecond
)

// Publisher brings records into the stream, by way of the spool when the stream does
// not take them. It has three goroutines:
//
//   - take receives records from the inputs and publishes them, or spools them while
//     the stream is not available, too slow, or behind the spool;
//   - settle waits for the acknowledgments, and spools what has got none;
//   - replay publishes what is in the spool, until it is acknowledged.
type Publisher struct {
	in       chan Record
	pressure chan struct{} // in was full
	slots    chan struct{} // one for each batch that was published and is not settled
	sent     chan []flight // from take to settle; as many as slots
	progress chan struct{} // replay has done, or tried, something

	stream   *Stream
	spool    *Spool
	log      *slog.Logger
	counters map[string]*counters // by input; not changed after start
	sources  *sources

	replayed   atomic.Uint64 // records of the spool that were acknowledged
	duplicates atomic.Uint64 // acknowledgments of what the stream had before
	failures   atomic.Uint64 // publications that were not acknowledged

	// accepted, if set, is called with records that are accepted, before they are
	// counted. For tests.
	accepted func([]Record)

	running, replaying sync.WaitGroup
	stop               context.CancelFunc // of replay
}

// flight is a record that was published.
type flight struct {
	record Record
	future jetstream.PubAckFuture
	err    error // of publishing: there is no future
}

// newPublisher makes a Publisher that takes records. They wait until start.
func newPublisher(log *slog.Logger) *Publisher {
	return &Publisher{
		in: make(chan Record, waiting), pressure: make(chan struct{}, 1),
		slots: make(chan struct{}, window), sent: make(chan []flight, window), progress: make(chan struct{}, 1),
		log: log, counters: make(map[string]*counters), sources: &sources{},
	}
}

// put gives a record to the publisher. It waits while there is no room, so that the
// workers wait, and then the sockets, whose buffers are in the kernel.
func (p *Publisher) put(r Record) {
	select {
	case p.in <- r:
		return
	default:
	}
	wakeUp(p.pressure)
	p.in <- r
}

// wakeUp makes ch, of capacity 1, ready.
func wakeUp(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (p *Publisher) start(stream *Stream, spool *Spool) {
	p.stream, p.spool = stream, spool
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(p.take)
	p.running.Go(p.settle)
	p.replaying.Go(func() { p.replay(ctx) })
}

func (p *Publisher) take() {
	defer close(p.sent)
	for batch := p.next(); batch != nil; batch = p.next() {
		if p.spool.Pending() || !p.stream.ready.Load() || !p.slot() {
			p.store(batch)
			continue
		}
		p.sent <- p.publish(batch)
	}
}

// next waits for a record and returns it with those that wait already, nil at the end.
func (p *Publisher) next() []Record {
	r, ok := <-p.in
	if !ok {
		return nil
	}
	batch := append(make([]Record, 0, min(maxBatch, 1+len(p.in))), r)
	for size := r.size(); len(batch) < maxBatch && size < maxBytes; size += r.size() {
		select {
		case r, ok = <-p.in:
			if !ok {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// slot waits until fewer batches than the window are in flight. It gives up when put
// has to wait.
func (p *Publisher) slot() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	select {
	case <-p.pressure: // some time ago
	default:
	}
	if len(p.in) == cap(p.in) {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-p.pressure:
		return false
	}
}

func (p *Publisher) publish(batch []Record) []flight {
	flights := make([]flight, len(batch))
	for i := range flights {
		f := &flights[i]
		f.record = batch[i]
		f.future, f.err = p.stream.publish(&f.record)
	}
	return flights
}

// outcome waits until it is known what has become of a publication.
func (p *Publisher) outcome(f *flight) error {
	err := f.err
	if err == nil {
		var duplicate bool
		duplicate, err = p.stream.await(f.future)
		if duplicate {
			p.duplicates.Add(1)
		}
	}
	if err != nil {
		p.failures.Add(1)
	}
	return err
}

func (p *Publisher) settle() {
	for flights := range p.sent {
		var stored, failed []Record
		for i := range flights {
			f := &flights[i]
			switch err := p.outcome(f); {
			case err == nil:
				stored = append(stored, f.record)
			case permanent(err):
				p.drop(&f.record, rejected)
			default:
				failed = append(failed, f.record)
			}
		}
		p.accept(stored, func(c *counters) { c.stream.Add(1) })
		p.store(failed)
		<-p.slots
	}
}

// accept counts records that are safe.
func (p *Publisher) accept(records []Record, count func(*counters)) {
	if p.accepted != nil && len(records) > 0 {
		p.accepted(records)
	}
	for i := range records {
		count(p.counters[records[i].Input])
	}
}

// store puts records into the spool. Those that it has no room for are dropped.
func (p *Publisher) store(records []Record) {
	if len(records) == 0 {
		return
	}
	n, err := p.spool.Append(records)
	p.accept(records[:n], func(c *counters) { c.spool.Add(1) })
	if err == nil {
		return
	}
	why := spoolError
	if err == errSpoolFull {
		why = spoolFull
	} else {
		p.log.Error("writing to the spool failed", "error", err)
	}
	for i := range records[n:] {
		p.drop(&records[n+i], why)
	}
}

func (p *Publisher) drop(r *Record, why reason) {
	if c := p.counters[r.Input]; c != nil { // nil: the spool has records of an input that is no more
		c.dropped[why].Add(1)
	}
	p.sources.add(r.Source.Addr())
	if why == rejected {
		p.log.Error("the stream refuses a message for good", "id", r.ID, "subject", r.Subject, "bytes", len(r.Payload))
	}
}

func (p *Publisher) replay(ctx context.Context) {
	for {
		records, end, err := p.spool.Next(ctx, maxBytes)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.log.Error("a segment of the spool cannot be read", "error", err)
			err = p.spool.Skip()
		} else if p.deliver(ctx, records) {
			err = p.spool.Ack(end)
		}
		if err != nil {
			p.log.Error("spool", "error", err)
		}
		wakeUp(p.progress)
	}
}

// deliver publishes records until each is acknowledged. It returns false if ctx ends
// before. While acknowledgments are missing it publishes fewer at a time: servers that
// are slow would not become faster.
func (p *Publisher) deliver(ctx context.Context, records []Record) bool {
	const least, most = 64, window * maxBatch
	for some := most; len(records) > 0; {
		if ctx.Err() != nil {
			return false
		}
		var failed []Record
		if p.stream.ready.Load() {
			n := min(len(records), some)
			flights := p.publish(records[:n])
			for i := range flights {
				f := &flights[i]
				switch err := p.outcome(f); {
				case err == nil:
					p.replayed.Add(1)
				case permanent(err):
					p.drop(&f.record, rejected)
				default:
					failed = append(failed, f.record)
				}
			}
			if records = append(failed, records[n:]...); failed == nil {
				some = min(2*some, most)
				continue
			}
			some = max(some/2, least)
		}
		wakeUp(p.progress)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// shutdown publishes what put has taken, and what is in the spool as long as the stream
// takes it; the rest stays in the spool. When ctx ends, what is not acknowledged goes
// to the spool. Nobody may call put any more.
func (p *Publisher) shutdown(ctx context.Context) {
	close(p.in)
	hurry := context.AfterFunc(ctx, p.stream.conn.Close)
	p.running.Wait()
	for p.spool.Pending() && p.stream.ready.Load() && ctx.Err() == nil {
		select {
		case <-p.progress:
		case <-ctx.Done():
		}
	}
	p.stop()
	hurry()
	p.stream.Close()
	p.replaying.Wait()
}
