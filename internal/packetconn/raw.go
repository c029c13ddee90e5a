package packetconn

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// SyscallConn returns the raw connection. wrap makes its errors those of package net; op is
// raw-control, raw-read or raw-write.
func (c *Conn) SyscallConn(wrap func(op string, err error) error) (syscall.RawConn, error) {
	rc, err := c.Socket.SyscallConn()
	if errors.Is(err, errors.ErrUnsupported) {
		return noRawConn{c, wrap}, nil
	}
	return &rawConn{rc, c, wrap}, err
}

// File returns a copy of the descriptor, which reads single datagrams.
func (c *Conn) File() (*os.File, error) {
	if err := c.uncoalesce(); err != nil {
		return nil, err
	}
	c.Share()
	return c.Socket.File()
}

// Share records that there may be other descriptors of the socket. Datagrams that are in the
// kernel at Close then stay there.
func (c *Conn) Share() { c.shared.Store(true) }

// Shared reports whether Share or File has been called.
func (c *Conn) Shared() bool { return c.shared.Load() }

// Coalesced reports whether UDP_GRO may be on.
func (c *Conn) Coalesced() bool { return !c.single.Load() }

// uncoalesce turns UDP_GRO off.
func (c *Conn) uncoalesce() error {
	if c.single.Load() {
		return nil
	}
	err := c.Socket.Uncoalesced()
	if err == nil {
		c.single.Store(true)
	}
	return err
}

// rawConn is that of a kernel's socket. Its first Read turns UDP_GRO off.
type rawConn struct {
	syscall.RawConn
	conn *Conn
	wrap func(op string, err error) error
}

func (r *rawConn) Read(f func(fd uintptr) bool) error {
	if err := r.conn.uncoalesce(); err != nil {
		return r.wrap("raw-read", err)
	}
	return r.RawConn.Read(f)
}

// noRawConn is that of a socket without a descriptor.
type noRawConn struct {
	conn *Conn
	wrap func(op string, err error) error
}

func (r noRawConn) Control(func(fd uintptr)) error {
	if r.conn.Out.Life.Closed() {
		return r.wrap("raw-control", net.ErrClosed)
	}
	return nil
}

func (r noRawConn) Read(func(fd uintptr) bool) error {
	return r.wrap("raw-read", errors.ErrUnsupported)
}

func (r noRawConn) Write(func(fd uintptr) bool) error {
	return r.wrap("raw-write", errors.ErrUnsupported)
}
