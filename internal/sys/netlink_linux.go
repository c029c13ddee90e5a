package sys

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Messages of netlink(7) and their attributes. Package syscall reads them too,
// but panics where the last attribute of a message ends before its padding.

var ne = binary.NativeEndian

// netlinkMessage is struct nlmsghdr, with what follows it.
type netlinkMessage struct {
	kind, flags uint16
	seq         uint32
	data        []byte
}

// cutMessage takes the first message off b. What is no whole one is not ok.
func cutMessage(b []byte) (m netlinkMessage, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, false
	}
	size := ne.Uint32(b)
	if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
		return m, nil, false
	}
	m = netlinkMessage{kind: ne.Uint16(b[4:]), flags: ne.Uint16(b[6:]), seq: ne.Uint32(b[8:]), data: b[unix.SizeofNlMsghdr:size]}
	return m, afterPadding(b, int(size)), true
}

// cutAttribute does the same with a struct rtattr.
func cutAttribute(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < unix.SizeofRtAttr {
		return 0, nil, nil, false
	}
	size := int(ne.Uint16(b))
	if size < unix.SizeofRtAttr || size > len(b) {
		return 0, nil, nil, false
	}
	return ne.Uint16(b[2:]), b[unix.SizeofRtAttr:size], afterPadding(b, size), true
}

// afterPadding is what follows size bytes, and those that fill them up to a
// multiple of four (NLMSG_ALIGN, RTA_ALIGN). After the last there need not be any.
func afterPadding(b []byte, size int) []byte { return b[min((size+3)&^3, len(b)):] }
