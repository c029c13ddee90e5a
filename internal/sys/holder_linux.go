package sys

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// holder is a socket that is nothing but a member.
type holder struct {
	fd      int
	v6      bool
	members int  // places
	full    bool // and not among those that may have room
}

// change does what x/net does, with the calls of RFC 3678.
func (h *holder) change(m member, a action) error {
	level := unix.IPPROTO_IP
	if h.v6 {
		level = unix.IPPROTO_IPV6
	}
	b := append(ifindexField(m.ifindex), toStorage(m.group)...)
	options := [...]int{join: unix.MCAST_JOIN_GROUP, leave: unix.MCAST_LEAVE_GROUP, unblock: 0}
	if m.source.IsValid() {
		b = append(b, toStorage(m.source)...)
		options = [...]int{
			join: unix.MCAST_JOIN_SOURCE_GROUP, leave: unix.MCAST_LEAVE_SOURCE_GROUP,
			block: unix.MCAST_BLOCK_SOURCE, unblock: unix.MCAST_UNBLOCK_SOURCE,
		}
	}
	return sysErr("setsockopt", unix.SetsockoptString(h.fd, level, options[a], string(b)))
}

// ifindexField begins struct group_req { uint32_t gr_interface; struct
// sockaddr_storage gr_group; } and struct group_source_req, which goes on with
// struct sockaddr_storage gsr_source. A sockaddr_storage is aligned as a pointer.
func ifindexField(index int) []byte {
	b := make([]byte, max(4, unix.SizeofPtr), 300)
	ne.PutUint32(b, uint32(index))
	return b
}

// toStorage makes a struct sockaddr_storage of an address.
func toStorage(a netip.Addr) []byte {
	b := make([]byte, 128)
	if a.Is4() {
		ne.PutUint16(b, unix.AF_INET)
		copy(b[4:], a.AsSlice())
		return b
	}
	ne.PutUint16(b, unix.AF_INET6)
	copy(b[8:], a.AsSlice())
	return b
}
