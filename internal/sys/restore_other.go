//go:build !linux

package sys

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
)

// sharing is what a socket keeps because another descriptor of it may exist.
type sharing struct {
	possible atomic.Bool
	mu       sync.Mutex
	options  *sharedOptions
	blocking bool // it came in blocking mode
}

// sharedOptions are the options that this package changes and that others see.
type sharedOptions struct{ broadcast int }

// cameShared notes what the options of an adopted socket are, and makes it fit
// for use.
func (c *Conn) cameShared(socket.Options) (err error) {
	s := &c.sharing
	s.possible.Store(true)
	if !c.adopted {
		return nil
	}
	if s.blocking, err = nonblocking(c.rc); err != nil {
		return err
	}
	if n, err := broadcastOption(c.rc); err == nil {
		s.options = &sharedOptions{broadcast: n}
	}
	return nil
}

// isShared notes that somebody may make another descriptor of the socket: package
// net lets every socket send broadcasts.
func (c *Conn) isShared() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	s.possible.Store(true)
	if s.options == nil {
		s.options = &sharedOptions{broadcast: 1}
	}
}

// handBack undoes what the holders of other descriptors would not expect.
func (c *Conn) handBack() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options != nil {
		_ = setBroadcast(c.rc, s.options.broadcast != 0)
	}
}
