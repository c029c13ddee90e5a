package sys

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// zoneName and zoneIndex convert the zone of an IPv6 address (RFC 4007) between the system's
// index and netip's name. A zone without an interface is the index as a number.
//
// They ask the socket (netdevice(7)), which knows the interfaces of its own network namespace.
// Package net would ask the namespace of the calling thread.
func zoneName(fd uintptr, index uint32) string {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		ifr.SetUint32(index)
		err = unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, ifr)
	}
	if err != nil {
		return strconv.FormatUint(uint64(index), 10)
	}
	return ifr.Name()
}

func zoneIndex(fd uintptr, zone string) uint32 {
	if zone == "" {
		return 0
	}
	if ifr, err := unix.NewIfreq(zone); err == nil && unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, ifr) == nil {
		return ifr.Uint32()
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}
