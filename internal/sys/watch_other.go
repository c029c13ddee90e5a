//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// Namespace is a view of the interfaces that sockets have. There is one only.
type Namespace struct{}

// Here is the view of sockets that the caller makes.
func Here() (*Namespace, error) { return &Namespace{}, nil }

// ID tells views apart.
func (*Namespace) ID() uint64 { return 1 }

// Interfaces lists the interfaces there are now.
func (*Namespace) Interfaces() ([]socket.Interface, error) { return netInterfaces() }

// Watch calls changed after the interfaces have changed, until stop.
func (n *Namespace) Watch(changed func()) (stop func(), err error) {
	return poll(n.Interfaces, pollInterval, changed), nil
}

// Close ends the use of the view.
func (*Namespace) Close() {}
