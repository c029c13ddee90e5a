//go:build !linux

package sockettest

// LoopbackCoalesces reports whether a segmented send over loopback arrives as one packet.
func LoopbackCoalesces() bool { return false }
