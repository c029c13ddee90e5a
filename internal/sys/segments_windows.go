package sys

import (
	"golang.org/x/sys/windows"

	"github.com/udpkit/udp/internal/cmsg"
	"github.com/udpkit/udp/internal/socket"
)

// Segmented sends (UDP_SEND_MSG_SIZE) need Windows 10 version 2004. Coalesced reads
// (UDP_RECV_MAX_COALESCED_SIZE) stay off, because some drivers report a wrong length of the
// segments (https://github.com/quinn-rs/quinn/issues/2041).
const (
	udpSendMsgSize = 2 // ws2ipdef.h
	maxSegments    = 64
	maxSegmented   = 65535 - 40 - 8 // bytes
)

// askSegments records whether the system has segmented sends. It only reads the option, because
// setting it would cut every longer datagram.
func (c *Conn) askSegments(h windows.Handle) {
	if _, err := windows.GetsockoptInt(h, windows.IPPROTO_UDP, udpSendMsgSize); err == nil {
		c.segments.Store(maxSegments)
	}
}

// Segments implements socket.Socket.
func (c *Conn) Segments() int { return max(1, int(c.segments.Load())) }

// sendSegments sends a message of one datagram or several, in as few calls as the system
// accepts, and returns the number of datagrams sent.
func (c *Conn) sendSegments(m *socket.Message, wait bool) (sent int, err error) {
	if m.Segment == 0 {
		if err := c.send(m, wait); err != nil {
			return 0, err
		}
		return 1, nil
	}
	for rest := m.Data; len(rest) > 0; {
		part := *m
		n := max(1, min(c.Segments(), maxSegmented/m.Segment))
		part.Data = rest[:min(len(rest), n*m.Segment)]
		if part.Segment = m.Segment; len(part.Data) <= m.Segment {
			part.Segment = 0
		}
		err := c.send(&part, wait)
		if class := Classify(err); err != nil && part.Segment > 0 && (class == Other || class == TooLarge) {
			c.segments.Store(0) // perhaps the driver can't; sent singly, each datagram has its own error
			continue
		}
		if err != nil {
			return sent, err
		}
		sent += (len(part.Data) + m.Segment - 1) / m.Segment
		rest = rest[len(part.Data):]
	}
	return sent, nil
}

func appendSegment(b []byte, size int) []byte { return cmsg.AppendSegment(b, uint16(size)) }
