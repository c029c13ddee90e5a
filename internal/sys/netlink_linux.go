package sys

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Messages of netlink(7) and their attributes. Package syscall parses them too, but panics if
// the last attribute of a message ends before its padding.

var ne = binary.NativeEndian

// netlinkMessage is struct nlmsghdr and its payload.
type netlinkMessage struct {
	kind, flags uint16
	seq         uint32
	data        []byte
}

// cutMessage cuts the first message off b. ok is false if b starts with no complete message.
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

// cutAttribute does the same for struct rtattr.
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

// afterPadding returns what follows size bytes and the padding to a multiple of four
// (NLMSG_ALIGN, RTA_ALIGN), which may be missing at the end.
func afterPadding(b []byte, size int) []byte { return b[min((size+3)&^3, len(b)):] }
