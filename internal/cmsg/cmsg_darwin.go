package cmsg

import "golang.org/x/sys/unix"

var system = macOS

var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_RECVPKTINFO-macRecvPktinfo6],
	[1]struct{}{}[unix.IPV6_RECVTCLASS-macRecvTClass],
	[1]struct{}{}[unix.IPV6_TCLASS-macTClass],
	[1]struct{}{}[unix.IP_RECVIF-bsdRecvIf],
	[1]struct{}{}[unix.IP_RECVTTL-macRecvTTL],
	[1]struct{}{}[unix.SizeofSockaddrDatalink-macSockaddrDL],
	[1]struct{}{}[unix.IP_PKTINFO-macPktinfo],
	[1]struct{}{}[unix.SizeofInet4Pktinfo-sizeofPktinfo4],
}
