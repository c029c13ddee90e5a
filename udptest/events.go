package udptest

import "time"

// events are the packets in flight, a heap ordered by time and key.
type events struct {
	net     *Net
	heap    []due
	timer   *time.Timer
	armed   time.Duration // when the timer fires; meaningless while none is set
	set     bool
	running bool
	woken   []*sock // sockets for which something has arrived while running
	spare   *packet
	free    [][]arrival // memory for sock.arrived
}

type due struct {
	at time.Duration
	p  *packet
}

func (a due) before(b due) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.p.key.compare(b.p.key) < 0
}

// schedule lets p continue after d.
func (n *Net) schedule(p *packet, now, d time.Duration) {
	e := &n.events
	at := now + d
	if tick := n.cfg.Tick; tick > 0 {
		at = (at + tick - 1) / tick * tick
	}
	e.push(due{at, p})
	if !e.running {
		e.arm()
	}
}

// arm sets the timer for the first event.
func (e *events) arm() {
	if len(e.heap) == 0 || e.set && e.armed <= e.heap[0].at {
		return
	}
	e.set, e.armed = true, e.heap[0].at
	d := max(0, e.armed-e.net.now())
	if e.timer == nil {
		e.timer = time.AfterFunc(d, e.net.run)
	} else {
		e.timer.Reset(d)
	}
}

// run executes the events whose time has come.
func (n *Net) run() {
	n.mu.Lock()
	e := &n.events
	e.set, e.running = false, true
	now := n.now()
	for len(e.heap) > 0 && e.heap[0].at <= now {
		ev := e.pop()
		n.step(ev.p, ev.at)
	}
	e.running = false
	e.arm()
	woken := e.woken
	e.woken = nil
	for _, s := range woken {
		s.coalesce()
	}
	n.mu.Unlock()
	for _, s := range woken {
		signal(s.readable)
	}
}

// wake signals a socket's Serve when run ends. It does so after run has unlocked the network,
// because handlers that reply would only wait for the lock.
func (e *events) wake(s *sock) {
	if !e.running {
		s.coalesce()
		signal(s.readable)
		return
	}
	if e.woken == nil {
		e.woken = make([]*sock, 0, 32)
	}
	e.woken = append(e.woken, s)
}

// lose discards the packets that are queued before an interface, or that never leave the host:
// those on lo, and the looped copies of multicast datagrams.
func (e *events) lose(i *Interface, now time.Duration) {
	for _, ev := range e.heap {
		p := ev.p
		switch {
		case p.from != i:
		case p.stage == unresolved:
			p.gone = true
			delete(i.host.looking, p.hop)
		case p.stage == onSegment:
			p.gone = p.gone || p.left > now
		case p.iface == i:
			p.gone = true
		}
	}
}

// The heap has four children per node, for fewer cache misses than with two.
func (e *events) push(ev due) {
	e.heap = append(e.heap, ev)
	h, i := e.heap, len(e.heap)-1
	for i > 0 {
		parent := (i - 1) / 4
		if !ev.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = ev
}

func (e *events) pop() due {
	h := e.heap
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = due{}
	h = h[:len(h)-1]
	e.heap = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		least := -1
		for c := 4*i + 1; c <= 4*i+4 && c < len(h); c++ {
			if least < 0 || h[c].before(h[least]) {
				least = c
			}
		}
		if least < 0 || !h[least].before(last) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = last
	return first
}
