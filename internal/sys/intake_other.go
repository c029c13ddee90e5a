//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// StopIntake implements socket.Socket: nothing here keeps datagrams out.
func (c *Conn) StopIntake() {}

// withSource has nothing to add: no socket connects to itself here.
func (c *Conn) withSource(m socket.Message) socket.Message { return m }
