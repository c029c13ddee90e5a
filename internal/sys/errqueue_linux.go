//go:build !udpbasic

package sys

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// recvErrQueue takes one entry off the error queue. The name is the destination of the
// datagram that caused it, and the data is the part of its payload that the ICMP message
// quoted (ip(7), IP_RECVERR).
func recvErrQueue(fd int, p, control []byte, name *unix.RawSockaddrInet6) (n, namelen, controllen, flags int, errno syscall.Errno) {
	iov := unix.Iovec{Base: &p[0]}
	iov.SetLen(len(p))
	h := unix.Msghdr{Iov: &iov, Control: &control[0]}
	h.SetIovlen(1)
	h.SetControllen(len(control))
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(name)), uint32(unsafe.Sizeof(*name))
	r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	return int(r), int(h.Namelen), int(h.Controllen), int(h.Flags), errno
}

// parseReport reads the control messages of an entry. nameOf returns the name of a zone.
// It returns false if no ICMP message caused the entry.
//
//	struct sock_extended_err {
//		__u32 ee_errno;
//		__u8  ee_origin; // 2: ICMP, 3: ICMPv6
//		__u8  ee_type, ee_code, ee_pad;
//		__u32 ee_info;   // the MTU, of "packet too big"
//		__u32 ee_data;
//	}; // struct sockaddr of the offender follows
func parseReport(control []byte, rep *socket.Report, nameOf func(uint32) string) bool {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return false
		}
		control = rest
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(data) < sizeofExtendedErr {
			continue
		}
		origin := data[4]
		if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
			return false
		}
		errno := syscall.Errno(binary.NativeEndian.Uint32(data))
		rep.Err, rep.Type, rep.Code = errno, data[5], data[6]
		if errno == unix.EMSGSIZE {
			rep.MTU = int(binary.NativeEndian.Uint32(data[8:]))
		}
		rep.Offender = offender(data[sizeofExtendedErr:], nameOf)
		return true
	}
	return false
}

const sizeofExtendedErr = 16

func offender(sa []byte, nameOf func(uint32) string) netip.Addr {
	if len(sa) < 2 {
		return netip.Addr{}
	}
	switch family := binary.NativeEndian.Uint16(sa); {
	case family == unix.AF_INET && len(sa) >= 8:
		return netip.AddrFrom4([4]byte(sa[4:8]))
	case family == unix.AF_INET6 && len(sa) >= unix.SizeofSockaddrInet6:
		a := netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
		if scope := binary.NativeEndian.Uint32(sa[24:]); scope != 0 && a.Is6() {
			a = a.WithZone(nameOf(scope))
		}
		return a
	}
	return netip.Addr{}
}
