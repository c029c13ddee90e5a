package cmsg

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A TTL or hop limit is an int: the kernel rejects a byte (ip_cmsg_send and ip6_datagram_send_ctl).
func TestAShortTTLIsUnknown(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		b, ok := AppendTTL(nil, 77, v6)
		var s Sending
		if !ok || !s.Parse(b) || s.TTL != 77 {
			t.Fatalf("v6 %v: %+v", v6, s)
		}
		(*unix.Cmsghdr)(unsafe.Pointer(&b[0])).SetLen(unix.CmsgLen(1))
		if s.Parse(b) {
			t.Errorf("v6 %v: read %+v", v6, s)
		}
	}
}
