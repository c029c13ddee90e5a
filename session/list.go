package session

import "time"

// list orders sessions by the time when they were put at its end, the oldest first. It is linked
// through the sessions, so that moving one allocates nothing.
//
// Not every datagram moves its session, because that touches two more sessions, which are rarely
// in the processor's cache: see table.known.
type list struct{ first, last *Peer }

func (l *list) push(p *Peer, now time.Duration) {
	p.listed = now
	p.list, p.prev, p.next = l, l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
}

func (l *list) remove(p *Peer) {
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.list, p.prev, p.next = nil, nil, nil
}

// idlest returns the session that was silent for longest. It is one of the first few. It
// compares turns, because times can be equal: Windows' clock stands still for up to 15 ms.
func (l *list) idlest() *Peer {
	found := l.first
	for p, n := l.first, 0; p != nil && n < 8; p, n = p.next, n+1 {
		if p.turn < found.turn {
			found = p
		}
	}
	return found
}
