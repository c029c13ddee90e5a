package sys

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// zoneName and zoneIndex turn the zone of an IPv6 address (RFC 4007) between the
// index that the system has and the name that netip has. An interface that there
// is not keeps its number.
//
// The socket is asked (netdevice(7)): the interfaces are those of its own network
// namespace, while package net asks the namespace of the calling thread.
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
