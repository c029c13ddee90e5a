//go:build !unix && !windows

package sys

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/udpkit/udp/internal/socket"
)

// On Plan 9 and WebAssembly sockets have no options.

type bufferOption int

const bufferFactor = 1

const (
	readBuffer bufferOption = iota
	writeBuffer
)

func beforeBind(_ syscall.RawConn, _ string, o socket.Options) (filter bool, err error) {
	if o.ReuseAddr || o.ReusePort {
		return false, errors.ErrUnsupported
	}
	return false, nil
}

func setBroadcast(syscall.RawConn, bool) error            { return nil }
func setBuffer(syscall.RawConn, bufferOption, int)        {}
func bufferSize(syscall.RawConn, bufferOption) int        { return 0 }
func (c *Conn) setup(socket.Options) error                { return nil }
func connect(syscall.RawConn, netip.AddrPort, bool) error { return errors.ErrUnsupported }
func (c *Conn) dissolve() error                           { return errors.ErrUnsupported }
func bind(syscall.RawConn, netip.AddrPort, bool) error    { return errors.ErrUnsupported }
func drops(syscall.RawConn) (uint32, bool)                { return 0, false }

func (c *Conn) familyOf() (f socket.Family, local netip.AddrPort, err error) {
	return socket.Dual, local, nil
}

func getsockname(syscall.RawConn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}

func getpeername(syscall.RawConn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.ErrUnsupported
}

// Discard implements socket.Socket. It discards nothing, because every read here waits.
func (c *Conn) Discard() int { return 0 }

func (c *Conn) takesClass() bool { return true }

// trafficClass is for control messages, which these systems do not have.
func trafficClass(syscall.RawConn, bool) uint8 { return 0 }

// nonblocking does nothing here.
func nonblocking(syscall.RawConn) (wasBlocking bool, err error) { return false, nil }

func broadcastOption(syscall.RawConn) (int, error) { return 0, errors.ErrUnsupported }

// handBackMode does nothing here.
func (c *Conn) handBackMode() {}

// duplicate fails: these systems cannot duplicate a socket.
func duplicate(*net.UDPConn) (*net.UDPConn, error) { return nil, errors.ErrUnsupported }
