//go:build dragonfly || netbsd || openbsd

package sys

import "golang.org/x/sys/unix"

var own = &bsdNumbers

var _ = [...]struct{}{[1]struct{}{}[unix.IPV6_TCLASS-bsdTClass]}
