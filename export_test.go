package udp

import (
	"github.com/udpkit/udp/internal/buffer"
)

// BufferBytes returns the length of the buffers that ds lie in, each counted once.
func BufferBytes(ds []Datagram) (n int) {
	counted := map[*buffer.Buffer]bool{}
	for _, d := range ds {
		if b := d.packet.lease.Buffer(); !counted[b] {
			counted[b] = true
			n += len(b.B)
		}
	}
	return n
}
