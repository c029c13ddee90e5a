//go:build dragonfly || netbsd || openbsd

package cmsg

func appendIPv4Class(b []byte, _ uint8) ([]byte, bool) { return b, false }
