package sys

import "golang.org/x/sys/unix"

var own = &freeBSDNumbers

var _ = [...]struct{}{
	[1]struct{}{}[unix.IPV6_TCLASS-bsdTClass],
	[1]struct{}{}[unix.IP_DONTFRAG-freeDontFrag],
	[1]struct{}{}[unix.IPV6_DONTFRAG-bsdDontFrag6],
}
