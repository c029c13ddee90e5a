//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// StopIntake implements socket.Socket. It does nothing: only Linux can keep datagrams out.
func (c *Conn) StopIntake() {}

// withSource returns m: no socket connects to itself here.
func (c *Conn) withSource(m socket.Message) socket.Message { return m }
