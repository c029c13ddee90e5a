package sys

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

var _ socket.Pulled = (*Conn)(nil)

// pull is the state of a socket that its callers read.
type pull struct {
	on bool

	mu       sync.Mutex // guards what follows
	deadline time.Time  // of reads
	woken    bool       // the poller has another deadline, in the past
}

// wake makes the waiting reader, or else the next one, return from the poller.
func (p *pull) wake(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken = true
	_ = c.uc.SetReadDeadline(past)
}

// answer reports whether err is the deadline that wake set, and restores the reader's own.
func (p *pull) answer(c *Conn, err error) (woken bool) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.woken {
		return false
	}
	p.woken = false
	_ = c.uc.SetReadDeadline(p.deadline)
	return true
}

// SetReadDeadline implements socket.Pulled.
func (c *Conn) SetReadDeadline(t time.Time) error {
	p := &c.pull
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	if p.woken {
		return nil // answer sets it
	}
	return unwrapOp(c.uc.SetReadDeadline(t))
}

// SetReadBuffer implements socket.Pulled.
func (c *Conn) SetReadBuffer(bytes int) error { return unwrapOp(c.uc.SetReadBuffer(bytes)) }

// SetWriteBuffer implements socket.Pulled.
func (c *Conn) SetWriteBuffer(bytes int) error { return unwrapOp(c.uc.SetWriteBuffer(bytes)) }

// File implements socket.Pulled.
func (c *Conn) File() (*os.File, error) {
	f, err := c.uc.File()
	return f, unwrapOp(err)
}
