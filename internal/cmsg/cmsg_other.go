//go:build (!unix && !windows) || aix || solaris

package cmsg

import "net/netip"

// Space is zero where no control message is read.
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
func truncated(int) bool                                          { return false }
