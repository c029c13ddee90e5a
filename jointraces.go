package udp

// JoinTraces returns a Trace whose functions call those of all traces, in order. Nil ones are
// left out; it returns nil if all are.
func JoinTraces(traces ...*Trace) *Trace {
	var all *Trace
	for _, t := range traces {
		switch {
		case t == nil:
		case all == nil:
			all = t
		default:
			all = &Trace{
				Received: then(all.Received, t.Received), Sent: thenOf(all.Sent, t.Sent),
				Dropped: thenOf(all.Dropped, t.Dropped), Refused: then(all.Refused, t.Refused),
				Membership: then(all.Membership, t.Membership), Rebind: thenAlone(all.Rebind, t.Rebind),
			}
		}
	}
	return all
}

// then and its variants return a function that calls f and then g. Either may be nil.
func then[A any](f, g func(*Conn, A)) func(*Conn, A) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn, a A) { f(c, a); g(c, a) }
}

func thenOf[A, B any](f, g func(*Conn, A, B)) func(*Conn, A, B) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn, a A, b B) { f(c, a, b); g(c, a, b) }
}

func thenAlone(f, g func(*Conn)) func(*Conn) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(c *Conn) { f(c); g(c) }
}
