//go:build (!unix && !windows) || aix || solaris

package cmsg

import "net/netip"

// Space is zero: these systems read no control messages.
const Space = 0

// OwnMayBeBroadcast: the destination is not known.
const OwnMayBeBroadcast = false

func parse([]byte, *Received) bool               { return true }
func appendSource(b []byte, _ netip.Addr) []byte { return b }
func appendInterface(b []byte, _ netip.Addr, _ int, _ bool) ([]byte, bool) {
	return b, false
}
func appendTrafficClass(b []byte, _ uint8, _ bool) ([]byte, bool) { return b, false }
func appendTTL(b []byte, _ uint8, _ bool) ([]byte, bool)          { return b, false }

// No read returns these.
const (
	msgTrunc  = 0x100
	msgCtrunc = 0x200
)

func (h *Header) put([]byte) (n int, all bool) { return 0, true }
func (s *Sending) parse(b []byte) bool         { return len(b) == 0 }
