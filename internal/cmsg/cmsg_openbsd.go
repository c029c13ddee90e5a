package cmsg

import "golang.org/x/sys/unix"

var system = openBSD

var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_RECVPKTINFO-bsdRecvPktinfo6],
	[1]struct{}{}[unix.IPV6_RECVTCLASS-bsdRecvTClass],
	[1]struct{}{}[unix.IPV6_TCLASS-bsdTClass],
	[1]struct{}{}[unix.IP_RECVIF-openRecvIf],
	[1]struct{}{}[unix.IP_RECVTTL-openRecvTTL],
	[1]struct{}{}[unix.SizeofSockaddrDatalink-openSockaddrDL],
	[1]struct{}{}[unix.IP_SENDSRCADDR-bsdRecvDstAddr],
}
