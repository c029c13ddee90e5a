//go:build unix || windows

package sys

import "net"

// CanDetach: Detach works, since sockets can be duplicated.
const CanDetach = true

// duplicate makes another net.UDPConn of the same socket.
func duplicate(uc *net.UDPConn) (*net.UDPConn, error) {
	f, err := uc.File()
	if err != nil {
		return nil, unwrapOp(err)
	}
	defer f.Close()
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, unwrapOp(err)
	}
	return pc.(*net.UDPConn), nil
}
