// Package limit protects a UDP service, and others from it: it admits so many datagrams of each
// source, and never sends more than three times the bytes that it got from an address that may be
// forged.
//
//	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, handler)
//	c, err := udp.Listen(ctx, "udp", ":53", l)
//
// A [Limiter] is a [udp.Handler] before another one. What it rejects is counted and goes no
// further.
//
// # Rates
//
// Sources are prefixes, by default a /24 of IPv4 and a /56 of IPv6, since who has one address
// of those usually has all. Each has a token bucket (golang.org/x/time/rate). The table of buckets
// is bounded, and its memory does not grow in a flood: a bucket that has filled up again says
// nothing, so it makes room for another source. When there is none, the sources that have no
// bucket share one, and the others keep theirs.
//
// # Amplification
//
// UDP has no handshake, so a request may have somebody else's address as its source, and that is
// where the reply goes. A service whose replies are longer than its requests is a weapon then. A
// handler that replies with [Limiter.Reply] keeps within three times what it was sent, the bound
// that RFC 9000, section 8.1, has for QUIC, until the handler calls [Limiter.Validate]: when the
// peer has proved that it gets what is sent to its address, for example by returning a token.
package limit
