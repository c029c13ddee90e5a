package sys

import "golang.org/x/sys/windows"

var own = &windowsNumbers

type descriptor = windows.Handle

func setOption(h descriptor, level, option, value int) error {
	return windows.SetsockoptInt(h, level, option, value)
}

// haveControlMessages: Config.ControlMessages and Message.Control are not supported here.
const haveControlMessages = false

var _ = [...]struct{}{
	[1]struct{}{}[windows.IPPROTO_IP-levelIP],
	[1]struct{}{}[windows.IPPROTO_IPV6-levelIPv6],
	[1]struct{}{}[windows.IP_TTL-winTTL],
	[1]struct{}{}[windows.IPV6_UNICAST_HOPS-winUnicastHops],
}
