package cmsg

import "golang.org/x/sys/unix"

var system = netBSD

var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_RECVPKTINFO-bsdRecvPktinfo6],
	[1]struct{}{}[unix.IPV6_RECVTCLASS-bsdRecvTClass],
	[1]struct{}{}[unix.IPV6_TCLASS-bsdTClass],
	[1]struct{}{}[unix.IP_RECVIF-bsdRecvIf],
	[1]struct{}{}[unix.IP_RECVTTL-netRecvTTL],
	[1]struct{}{}[unix.SizeofSockaddrDatalink-netSockaddrDL],
}
