// Package books lets tests see the counters of every socket that stops, and not
// only those of sockets that they look at.
package books

// A Balance is what a socket has counted. At rest Received is the sum of the
// others, and none is negative.
type Balance struct{ Received, Handled, Dropped int64 }

// Even says whether b is that of a socket at rest.
func (b Balance) Even() bool { return b.Handled >= 0 && b.Received == b.Handled+b.Dropped }

// Stopped is called with each socket that stops, on its goroutine, and with what
// gives its balance at any time. It is nil but in tests, whose TestMain sets it
// before there are sockets: see package check.
var Stopped func(socket string, balance func() Balance)
