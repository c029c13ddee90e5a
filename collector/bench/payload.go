package main

import (
	"encoding/binary"
	"fmt"
)

// flows is the number of records in a datagram of NetFlow. Routers send up to 30.
const flows = 10

// netflow5 is a datagram of NetFlow version 5.
func netflow5(i int) []byte {
	b := make([]byte, 0, 24+48*flows)
	b = binary.BigEndian.AppendUint16(b, 5)
	b = binary.BigEndian.AppendUint16(b, flows)
	b = binary.BigEndian.AppendUint32(b, 5_000_000)
	b = binary.BigEndian.AppendUint32(b, 1_700_000_000)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(i*flows))
	b = append(b, 0, 0, 0, 0)
	for k := range flows {
		b = append(b, 10, 0, byte(i>>8), byte(i), 192, 0, 2, byte(k), 10, 0, 0, 1)
		b = binary.BigEndian.AppendUint16(b, 1)
		b = binary.BigEndian.AppendUint16(b, 2)
		b = binary.BigEndian.AppendUint32(b, 10)
		b = binary.BigEndian.AppendUint32(b, 12_000)
		b = binary.BigEndian.AppendUint32(b, 4_000_000)
		b = binary.BigEndian.AppendUint32(b, 4_500_000)
		b = binary.BigEndian.AppendUint16(b, uint16(1024+k))
		b = binary.BigEndian.AppendUint16(b, 443)
		b = append(b, 0, 0x1b, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0)
	}
	return b
}

// syslog is a message of RFC 3164.
func syslog(i int) []byte {
	return fmt.Appendf(nil, "<134>Oct 11 22:14:15 web-%d nginx[812]: 192.0.2.%d - - \"GET /index.html?id=%d HTTP/1.1\" 200 5316 \"-\" \"Mozilla/5.0\"", i%20, i%250, i)
}
