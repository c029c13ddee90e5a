package udp

import "time"

func (o *outbox) leaveToWriter() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.startWriter()
	o.kick()
}

// startWriter makes sure that there is a writer. It needs mu.
func (o *outbox) startWriter() {
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
func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// write is the writer. It exists while there is traffic that others may not send
// in time, and ends after a while without.
func (o *outbox) write(done chan struct{}) {
	t := time.NewTimer(flushEvery)
	defer t.Stop()
	for idle := 0; ; {
		select {
		case <-t.C:
		case <-o.wake:
		case <-o.conn.life.closing:
			idle = idleFlushes
		}
		if o.pending.Load() {
			idle = 0
			o.flush()
		} else {
			idle++
		}
		if idle >= idleFlushes || o.conn.closed() {
			o.mu.Lock()
			if over := o.batch == nil || o.conn.closed(); over {
				o.done = nil
				close(done)
				o.mu.Unlock()
				return
			}
			o.mu.Unlock()
		}
		t.Reset(flushEvery)
	}
}
