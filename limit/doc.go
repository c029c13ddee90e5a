// Package limit protects a UDP service from floods, and protects others from being flooded by its
// replies. It bounds the rate at which datagrams of each source are admitted. It also bounds
// replies: an address that may be forged gets at most three times the bytes that came from it.
//
//	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, handler)
//	c, err := udp.Listen(ctx, "udp", ":53", l)
//
// A [Limiter] is a [udp.Handler] that passes datagrams on to another Handler, or rejects and
// counts them.
//
// # Rates
//
// A source is a prefix, by default a /24 of IPv4 or a /56 of IPv6, because all addresses of such
// a prefix usually belong to one network. Each source has a token bucket
// (golang.org/x/time/rate). The table of buckets is bounded, so a flood does not make it grow. A
// new source takes the place of one whose bucket is full again, which loses nothing. When no
// bucket is full, all sources without a bucket share one.
//
// # Amplification
//
// UDP has no handshake, so the source address of a request can be forged, and the reply is sent
// to a victim. A service whose replies are longer than its requests amplifies such an attack.
// [Limiter.Reply] sends an address at most three times the bytes that came from it, until the
// handler calls [Limiter.Validate]. QUIC has the same bound (RFC 9000, section 8.1). The handler
// calls Validate when the peer has proved that it receives datagrams at its address, for example
// by returning a token.
package limit
