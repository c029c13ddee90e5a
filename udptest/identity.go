package udptest

import (
	"errors"
	"net"
	"net/netip"
)

// Peer implements socket.Socket.
func (s *sock) Peer() netip.AddrPort {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return s.peer
}

// Reconcile implements socket.Socket: nothing here destroys a socket and leaves it
// open.
func (s *sock) Reconcile() error { return nil }

// Rebinds implements socket.Socket.
func (s *sock) Rebinds() uint64 { return 0 }

// Detach implements socket.Socket: there is no descriptor.
func (s *sock) Detach() (*net.UDPConn, error) {
	return nil, errors.Join(errors.New("udptest: a simulated socket has no descriptor"), errors.ErrUnsupported)
}

// StopIntake implements socket.Socket: Serve does it when it drains.
func (s *sock) StopIntake() {}
