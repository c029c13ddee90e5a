//go:build (udpbasic || !linux) && !windows

package sys

import "github.com/udpkit/udp/internal/socket"

// Segments implements socket.Socket.
func (c *Conn) Segments() int { return 1 }

// sendSegments sends one datagram: no message has several segments here.
func (c *Conn) sendSegments(m *socket.Message, wait bool) (int, error) {
	if err := c.send(m, wait); err != nil {
		return 0, err
	}
	return 1, nil
}

func appendSegment(b []byte, _ int) []byte { return b }
