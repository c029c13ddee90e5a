//go:build !linux

package sys

import (
	"net"
	"strconv"
)

// zoneName and zoneIndex convert the zone of an IPv6 address (RFC 4007) between the system's
// index and netip's name. A zone without an interface is the index as a number.
func zoneName(_ uintptr, index uint32) string {
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

func zoneIndex(_ uintptr, zone string) uint32 {
	if zone == "" {
		return 0
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}
