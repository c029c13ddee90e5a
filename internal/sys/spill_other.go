//go:build !linux

package sys

import "github.com/udpkit/udp/internal/socket"

// spill has nothing to keep: what there is of limits is the system's answer.
type spill struct{}

func (*spill) close() {}

func (c *Conn) joinMember(m member) error  { return c.membership(m, true) }
func (c *Conn) leaveMember(m member) error { return c.membership(m, false) }

// Info implements socket.Socket.
func (c *Conn) Info() socket.Info { return c.currentInfo() }
