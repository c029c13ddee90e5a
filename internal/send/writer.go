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
			if o.Flush(); few {
				o.sentFew()
			}
		} else {
			idle += every
		}
		if idle >= writerIdle || o.Life.Closed() {
			o.mu.Lock()
			if over := o.batch == nil || o.Life.Closed(); over {
				o.done, o.slow = nil, false
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
	if o.slow {
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
	o.outrun, o.last = true, time.Now()
}

// prompt reports whether to wake the writer for the added datagram, because the caller
// takes long for each: the writer had sent all and was waiting for more. That holds
// until several datagrams have closely followed each other. It needs mu.
func (o *Outbox) prompt() bool {
	if !o.slow && !o.outrun {
		return false
	}
	now := time.Now()
	apart := now.Sub(o.last) > burst
	o.last, o.outrun = now, false
	switch {
	case apart:
		o.slow, o.quick = true, 0
	case !o.slow:
		return false
	default:
		o.quick++
		o.slow = o.quick <= fewDatagrams
	}
	return true // with slow cleared, for its timer
}
