//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// transmitStamps are the flags of SO_TIMESTAMPING that put entries on the error queue.
const transmitStamps = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
	unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_ACK

// setTransmitTimestamps enables reports of the time at which the driver takes each datagram,
// with its number but without its payload (OPT_TSONLY, Linux 4.0).
func setTransmitTimestamps(rc syscall.RawConn) error {
	return setInt(rc, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_TX_SOFTWARE|
		unix.SOF_TIMESTAMPING_SOFTWARE|unix.SOF_TIMESTAMPING_OPT_ID|unix.SOF_TIMESTAMPING_OPT_TSONLY)
}

// mayHoldStamps reports whether the error queue may have timestamps, perhaps enabled by the
// program itself. They take space of the receive buffer, so the reader takes them off.
func (c *Conn) mayHoldStamps() bool { return c.path.stamps || c.exposed.Load() }

// parseStamp reads the control messages of an entry about a sent datagram. struct
// scm_timestamping has three times, of which the first is software's, and sock_extended_err has
// the number of the datagram (Documentation/networking/timestamping.rst of Linux).
func parseStamp(control []byte, rep *socket.Report) bool {
	var at time.Time
	numbered := false
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return false
		}
		control = rest
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPING:
			at = stampOf(data)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR, h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR:
			if len(data) < sizeofExtendedErr || data[4] != unix.SO_EE_ORIGIN_TIMESTAMPING ||
				binary.NativeEndian.Uint32(data[8:]) != unix.SCM_TSTAMP_SND {
				return false
			}
			rep.Number, numbered = binary.NativeEndian.Uint32(data[12:]), true
		}
	}
	rep.Sent = at
	return numbered && !at.IsZero()
}

// stampOf returns the first of the three times, or the zero Time if it is not set.
func stampOf(data []byte) (t time.Time) {
	var sec, nsec int64
	switch len(data) {
	case 3 * 16:
		sec, nsec = int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:]))
	case 3 * 8: // 32-bit systems
		sec, nsec = int64(int32(binary.NativeEndian.Uint32(data))), int64(binary.NativeEndian.Uint32(data[4:]))
	}
	if sec|nsec == 0 {
		return t
	}
	return time.Unix(sec, nsec)
}
