package udp

import (
	"net/netip"

	"github.com/udpkit/udp/internal/gso"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// sendFailure is a datagram that could not be sent.
type sendFailure struct {
	index int // in its batch
	to    netip.AddrPort
	err   error
}

// peer is where the datagram should have gone.
func (f *sendFailure) peer(c *Conn) netip.AddrPort {
	if !f.to.IsValid() {
		if p := c.peer.current.Load(); p != nil {
			return *p
		}
	}
	return f.to
}

// transmit sends messages in order and goes on after those that fail. It ends early
// with a cause and what is left when the socket is closed or the deadline has
// passed, or when it would have to wait and must not.
func (c *Conn) transmit(ms []socket.Message, how patience) (left []socket.Message, failed []sendFailure, cause error) {
	index := 0
	for len(ms) > 0 {
		n, err := c.sock.SendBatch(ms, how != tryOnce)
		rest, bytes := gso.Skip(ms, n)
		ms = rest
		index += n
		c.stats.CountSent(n, bytes)
		if err == nil {
			continue
		}
		one := gso.First(ms)
		err, later := c.sendAgain(one, err, how)
		if later {
			return ms, failed, err
		}
		if err != nil {
			if class := sys.Classify(err); class == sys.Deadline || class == sys.Closed {
				return ms, failed, err
			}
			c.countFailure(err)
			failed = append(failed, sendFailure{index, one.To, err})
		}
		ms, _ = gso.Skip(ms, 1)
		index++
	}
	return nil, failed, nil
}

// failAll counts what is left of a batch of n after an error that concerns all.
func (c *Conn) failAll(left []socket.Message, n int, err error) (failed []sendFailure) {
	for len(left) > 0 {
		one := gso.First(left)
		c.countFailure(err)
		failed = append(failed, sendFailure{0, one.To, err})
		left, _ = gso.Skip(left, 1)
	}
	for i := range failed {
		failed[i].index = n - len(failed) + i
	}
	return failed
}
