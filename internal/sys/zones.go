package sys

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// zoneTTL is how long the name of an interface is cached. Asking the kernel takes less time
// than a datagram, but more than the cache.
const zoneTTL = time.Second

// maxZones bounds the time of a lookup. An interface has one entry, and another one if it is also
// named by its index.
const maxZones = 64

// zoneCache caches the names of the interfaces that the link-local peers of a socket are on.
type zoneCache struct {
	// peer is the zone of the connected peer. It keeps the name that was connected to, so that
	// the peer's datagrams still match after its interface was renamed, and the socket can be
	// connected again.
	peer atomic.Pointer[zone]

	mu    sync.Mutex
	known []zone // at most maxZones
}

// zone is an interface and one of its names.
type zone struct {
	index uint32
	name  string
	alias bool // name is the index as a number, or another alternative name
	until time.Time
}

// Zone implements socket.Socket.
func (c *Conn) Zone(zone string) (name string, ok bool) {
	index := c.indexOf(zone)
	if index == 0 {
		return zone, false
	}
	return c.nameOf(index), true
}

// nameOf returns the name of an interface, or its index if there is no such interface.
func (c *Conn) nameOf(index uint32) string {
	if peer := c.zones.peer.Load(); peer != nil && peer.index == index {
		return peer.name
	}
	now := time.Now()
	if z, ok := c.zones.find(now, func(z *zone) bool { return z.index == index && !z.alias }); ok {
		return z.name
	}
	name := c.askName(index)
	c.zones.remember(zone{index, name, false, now.Add(zoneTTL)})
	return name
}

// indexOf returns the index of an interface by its name or its index as a number, or 0 if
// there is no such interface.
func (c *Conn) indexOf(name string) uint32 {
	if name == "" {
		return 0
	}
	now := time.Now()
	if z, ok := c.zones.find(now, func(z *zone) bool { return z.name == name }); ok {
		return z.index
	}
	var index uint32
	c.rc.Control(func(fd uintptr) { index = zoneIndex(fd, name) })
	if index != 0 { // a missing one may be created at any time
		c.zones.remember(zone{index, name, c.askName(index) != name, now.Add(zoneTTL)})
	}
	return index
}

// zoned adds the zone to an address that is valid on one interface only.
func (c *Conn) zoned(a netip.Addr, ifindex int) netip.Addr {
	if ifindex == 0 || !a.Is6() || a.Zone() != "" ||
		!a.IsLinkLocalUnicast() && !a.IsLinkLocalMulticast() && !a.IsInterfaceLocalMulticast() {
		return a
	}
	return a.WithZone(c.nameOf(uint32(ifindex)))
}

func (c *Conn) askName(index uint32) (name string) {
	if c.rc.Control(func(fd uintptr) { name = zoneName(fd, index) }) != nil {
		return strconv.FormatUint(uint64(index), 10) // closed
	}
	return name
}

func (z *zoneCache) find(now time.Time, is func(*zone) bool) (zone, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for i := range z.known {
		if k := &z.known[i]; is(k) && now.Before(k.until) {
			return *k, true
		}
	}
	return zone{}, false
}

// remember adds a zone in place of those that it contradicts, or of the oldest if there are
// too many.
func (z *zoneCache) remember(n zone) {
	z.mu.Lock()
	defer z.mu.Unlock()
	kept := z.known[:0]
	for _, k := range z.known {
		if k.name != n.name && (k.index != n.index || k.alias != n.alias) {
			kept = append(kept, k)
		}
	}
	if len(kept) == maxZones {
		oldest := 0
		for i := range kept {
			if kept[i].until.Before(kept[oldest].until) {
				oldest = i
			}
		}
		kept[oldest] = n
	} else {
		kept = append(kept, n)
	}
	z.known = kept
}

// forget empties the cache, after an interface was replaced.
func (z *zoneCache) forget() {
	z.peer.Store(nil)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.known = nil
}

// connectTo remembers the peer's zone, if it has one.
func (c *Conn) connectTo(name string) {
	if _, renamed := c.renamedZone(name); renamed {
		return
	}
	if index := c.indexOf(name); index != 0 {
		c.zones.peer.Store(&zone{index: index, name: name})
	} else {
		c.zones.peer.Store(nil)
	}
}

// renamedZone returns the present name of the interface that the peer was connected by, if
// it had this name and was renamed, and no other interface has the name now.
func (c *Conn) renamedZone(name string) (present string, renamed bool) {
	peer := c.zones.peer.Load()
	if name == "" || peer == nil || peer.name != name {
		return "", false
	}
	var index uint32
	c.rc.Control(func(fd uintptr) { index = zoneIndex(fd, name) })
	if index != 0 {
		return "", false
	}
	present = c.askName(peer.index)
	return present, present != strconv.FormatUint(uint64(peer.index), 10) // that is no interface
}

// byPresentName returns an address with the present name of its zone: see renamedZone.
func (c *Conn) byPresentName(a netip.AddrPort) netip.AddrPort {
	if name, renamed := c.renamedZone(a.Addr().Zone()); renamed {
		return netip.AddrPortFrom(a.Addr().WithZone(name), a.Port())
	}
	return a
}
