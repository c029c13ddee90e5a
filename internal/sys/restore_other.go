//go:build !linux

package sys

import (
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
)

// sharing is the state of a socket that may have other descriptors.
type sharing struct {
	possible atomic.Bool
	mu       sync.Mutex
	options  *sharedOptions
	blocking bool // it was in blocking mode
}

// sharedOptions are the options that this package changes and that others see.
type sharedOptions struct{ broadcast int }

// cameShared records the options of an adopted socket and prepares it for use.
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

// isShared records that the user can make other descriptors of the socket. These should be able
// to send broadcasts, as every socket of package net is.
func (c *Conn) isShared() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	s.possible.Store(true)
	if s.options == nil {
		s.options = &sharedOptions{broadcast: 1}
	}
}

// handBack undoes what the holders of other descriptors of the socket would not expect.
func (c *Conn) handBack() {
	s := &c.sharing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options != nil {
		_ = setBroadcast(c.rc, s.options.broadcast != 0)
	}
}
