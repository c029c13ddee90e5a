package send

import "time"

func (o *Outbox) leaveToWriter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.startWriter()
	o.kick()
}

// startWriter makes sure that there is a writer. It needs mu.
func (o *Outbox) startWriter() {
	if o.done != nil {
		return
	}
	if o.wake == nil {
		o.wake = make(chan struct{}, 1)
	}
	o.done = make(chan struct{})
	go o.write(o.done)
}

// kick makes the writer send now. It needs mu.
func (o *Outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine. It runs while there are messages that no other
// goroutine may send in time, and ends after a while without any.
func (o *Outbox) write(done chan struct{}) {
	over := false
	defer func() {
		if !over {
			go o.write(done) // Config.Failed called runtime.Goexit; Stop waits for done
		}
	}()
	t := time.NewTimer(burst) // short at first, to find out whether the callers take long
	defer t.Stop()
	for idle := time.Duration(0); ; {
		select {
		case <-t.C:
		case <-o.wake:
		case <-o.Life.Closing():
			idle = writerIdle
		}
		every := o.interval()
		if o.pending.Load() {
			idle = 0
			few := o.hasFew()
			o.Flush()
			if few {
				o.sentFew()
			}
		} else {
			idle += every
		}
		if idle >= writerIdle || o.Life.Closed() {
			o.mu.Lock()
			if o.batch == nil || o.Life.Closed() {
				o.done, o.pace.wakeEach = nil, false
				over = true
				close(done)
				o.mu.Unlock()
				return
			}
			o.mu.Unlock()
		}
		t.Reset(every)
	}
}

// interval is the time until the writer looks again. It is long while the writer is
// woken for each datagram: the timers of an idle process are coarse, and each delays
// others.
func (o *Outbox) interval() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pace.wakeEach {
		return writerIdle
	}
	return flushEvery
}

// hasFew reports whether at most fewDatagrams are pending.
func (o *Outbox) hasFew() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.batch != nil && o.batch.Len() <= fewDatagrams
}

// sentFew is called when the writer has sent the datagrams that hasFew found.
func (o *Outbox) sentFew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pace.caughtUp, o.pace.last = true, time.Now()
}

// pace decides whether the writer is woken for each datagram that is added.
//
// Normally it is not: the writer looks every flushEvery and sends what it finds. A caller
// that takes long for each datagram would wait for that timer every time. It is one if the
// writer has sent the few datagrams there were and the next is added more than burst later.
// From then on the writer is woken for each, until more than fewDatagrams have followed
// another within burst.
type pace struct {
	last          time.Time // when a datagram was added last, or the writer caught up
	wakeEach      bool      // the writer is woken for each datagram
	caughtUp      bool      // the writer has sent few, and none was added since
	closeTogether int       // with wakeEach: datagrams within burst after another
}

// prompt reports whether to wake the writer for the added datagram.
func (p *pace) prompt() bool {
	if !p.wakeEach && !p.caughtUp {
		return false
	}
	now := time.Now()
	apart := now.Sub(p.last) > burst
	p.last, p.caughtUp = now, false
	switch {
	case apart:
		p.wakeEach, p.closeTogether = true, 0
	case !p.wakeEach:
		return false
	default:
		p.closeTogether++
		p.wakeEach = p.closeTogether <= fewDatagrams
	}
	return true // also when wakeEach ends: the writer sets its timer
}
