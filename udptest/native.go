//go:build !windows

package udptest

// native is what the system itself says for an errno.
func native(e errno) errno { return e }
