package udp

import (
	"errors"
	"net"
	"syscall"
)

// SyscallConn returns the raw connection. Its first Read turns UDP_GRO off, so that
// programs that read the descriptor themselves, as golang.org/x/net/ipv4 does, get
// single datagrams. Those are not counted. Datagrams that were read before are still
// returned by the methods of PacketConn. On a simulated network Control does nothing and
// returns nil, and Read and Write fail with [errors.ErrUnsupported].
func (c *PacketConn) SyscallConn() (syscall.RawConn, error) {
	if !c.ok() {
		return nil, syscall.EINVAL
	}
	rc, err := c.sock.SyscallConn()
	if errors.Is(err, errors.ErrUnsupported) {
		return noRawConn{c}, nil
	}
	return &rawConn{RawConn: rc, conn: c}, err
}

// rawConn is that of a kernel's socket.
type rawConn struct {
	syscall.RawConn
	conn *PacketConn
}

func (r *rawConn) Read(f func(fd uintptr) bool) error {
	if err := r.conn.uncoalesce(); err != nil {
		return r.conn.opError("raw-read", r.conn.local, r.conn.remote, err)
	}
	return r.RawConn.Read(f)
}

// uncoalesce turns UDP_GRO off.
func (c *PacketConn) uncoalesce() error {
	if c.single.Load() {
		return nil
	}
	err := c.sock.Uncoalesced()
	if err == nil {
		c.single.Store(true)
	}
	return err
}

// noRawConn is that of a socket without a descriptor.
type noRawConn struct{ conn *PacketConn }

func (r noRawConn) Control(func(fd uintptr)) error {
	if r.conn.conn.closed() {
		return r.conn.opError("raw-control", nil, r.conn.local, net.ErrClosed)
	}
	return nil
}

func (r noRawConn) Read(func(fd uintptr) bool) error {
	return r.conn.opError("raw-read", r.conn.local, r.conn.remote, errors.ErrUnsupported)
}

func (r noRawConn) Write(func(fd uintptr) bool) error {
	return r.conn.opError("raw-write", r.conn.local, r.conn.remote, errors.ErrUnsupported)
}
