// Package exchange sends requests over UDP and waits for their responses, as clients of DNS,
// SNMP, STUN, NTP and RADIUS do.
//
// A [Client] needs to know which bytes of a response belong to which request. For DNS that is the
// ID, the first two bytes:
//
//	c, err := exchange.New(exchange.Config[uint16]{
//		Key: func(b []byte) (uint16, bool) {
//			if len(b) < 12 {
//				return 0, false
//			}
//			return binary.BigEndian.Uint16(b), true
//		},
//	})
//	response, err := c.Do(ctx, "192.0.2.53:53", query)
//
// [Client.Do] sends the request again when no response arrives (RFC 8085, section 3.1). It
// accepts a response from the queried server only. It fails at once when an ICMP error reports
// that nobody listens there. All other datagrams that arrive are counted in [Stats].
//
// One socket serves thousands of requests at once. Config.SocketPerRequest gives each request a
// socket of its own with a random port, which makes responses harder to forge.
package exchange
