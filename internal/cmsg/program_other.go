//go:build !unix || aix || solaris

package cmsg

// The flags have Windows' values; the other systems of this file read no messages.
const (
	msgTrunc  = 0x100
	msgCtrunc = 0x200
)

func (h *Header) put([]byte) (n int, all bool) { return 0, true }
func (s *Sending) parse(b []byte) bool         { return len(b) == 0 }
