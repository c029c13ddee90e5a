//go:build dragonfly || freebsd || netbsd || openbsd

package cmsg

func (s *Sending) parseIPv4System(int, []byte) bool { return false }
