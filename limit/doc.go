// Package limit protects a UDP service, and others from it. It bounds how many datagrams of each
// source are admitted. To an address that may be forged it never sends more than three times the
// bytes that came from there.
//
//	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, handler)
//	c, err := udp.Listen(ctx, "udp", ":53", l)
//
// A [Limiter] is a [udp.Handler] that passes datagrams on to another one. What it rejects is
// counted and not passed on.
//
// # Rates
//
// Sources are prefixes, by default a /24 of IPv4 and a /56 of IPv6, since whoever has one of
// these addresses usually has all of them. Each has a token bucket (golang.org/x/time/rate). The
// table of buckets is bounded, so its memory does not grow in a flood. A bucket that has filled
// up again holds no information, so it makes room for another source. When no bucket is full, the
// sources without a bucket share one, and the others keep theirs.
//
// # Amplification
//
// UDP has no handshake, so a request may have somebody else's address as its source, and the
// reply goes there. A service whose replies are longer than its requests is a weapon then. A
// handler that replies with [Limiter.Reply] sends at most three times the bytes that it was sent,
// until it calls [Limiter.Validate]. QUIC has the same bound (RFC 9000, section 8.1). The handler
// calls Validate when the peer has proved that it gets what is sent to its address, for example
// by returning a token.
package limit
