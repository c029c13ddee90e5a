//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// Namespace lists and watches the interfaces. There is only one.
type Namespace struct{}

// Here returns the Namespace of the sockets that the caller opens.
func Here() (*Namespace, error) { return &Namespace{}, nil }

// ID identifies the namespace.
func (*Namespace) ID() uint64 { return 1 }

// Interfaces lists the interfaces.
func (*Namespace) Interfaces() ([]socket.Interface, error) { return netInterfaces() }

// Watch calls changed after the interfaces have changed, until stop.
func (n *Namespace) Watch(changed func()) (stop func(), err error) {
	return poll(n.Interfaces, pollInterval, changed), nil
}

// Interfaces implements socket.Socket.
func (c *Conn) Interfaces() ([]socket.Interface, error) { return netInterfaces() }

// Close closes the Namespace.
func (*Namespace) Close() {}
