package udp

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
)

// SyscallConn returns the raw connection. Its first Read switches off that the kernel
// joins datagrams (UDP_GRO), for those who read the descriptor themselves, as
// golang.org/x/net/ipv4 does; what they read is in no counter, and what was read before
// is handed out by the methods of PacketConn. On a simulated network Control does
// nothing and returns nil, and Read and Write fail with [errors.ErrUnsupported].
func (c *PacketConn) SyscallConn() (syscall.RawConn, error) {
	if !c.ok() {
		return nil, syscall.EINVAL
	}
	rc, err := c.sock.SyscallConn()
	if errors.Is(err, errors.ErrUnsupported) {
		return noRawConn{c}, nil
	}
	return &rawConn{RawConn: rc, sock: c.sock}, err
}

// rawConn is that of a kernel's socket.
type rawConn struct {
	syscall.RawConn
	sock socket.Pulled
	once sync.Once
	err  error
}

func (r *rawConn) Read(f func(fd uintptr) bool) error {
	r.once.Do(func() { r.err = r.sock.Uncoalesced() })
	if r.err != nil {
		return r.err
	}
	return r.RawConn.Read(f)
}

// noRawConn is that of a socket without a descriptor.
type noRawConn struct{ conn *PacketConn }

func (r noRawConn) Control(func(fd uintptr)) error {
	if r.conn.closing.Load() {
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
