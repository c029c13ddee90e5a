//go:build !linux

package sys

import "net"

// changeOlder is for Linux, which others imitate.
func changeOlder(*net.UDPConn, member, action, error) (done bool, err error) { return false, nil }
