//go:build (!unix && !windows) || aix || solaris

package cmsg

// These systems read no messages.
const (
	msgTrunc  = 0x100
	msgCtrunc = 0x200
)

func (h *Header) put([]byte) (n int, all bool) { return 0, true }
func (s *Sending) parse(b []byte) bool         { return len(b) == 0 }
