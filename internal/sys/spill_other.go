//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// spill has nothing to keep: what there is of limits is the system's answer.
type spill struct{}

func (*spill) close() {}

func (c *Conn) joinMember(m member) error            { return c.membership(m, join) }
func (c *Conn) leaveMember(m member) error           { return c.membership(m, leave) }
func (c *Conn) blockMember(m member, a action) error { return c.membership(m, a) }

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info { return c.currentInfo() }
