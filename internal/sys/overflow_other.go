//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// overflow is empty: beyond the system's limit Join fails.
type overflow struct{}

func (*overflow) close() {}

func (c *Conn) joinMember(m member) error            { return changeMembership(c.uc, m, join) }
func (c *Conn) leaveMember(m member) error           { return changeMembership(c.uc, m, leave) }
func (c *Conn) blockMember(m member, a action) error { return changeMembership(c.uc, m, a) }

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info { return c.currentInfo() }
