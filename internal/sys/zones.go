package sys

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// zoneTTL is how long an interface's name is believed. Asking for it costs Linux
// less than a datagram, but more than remembering.
const zoneTTL = time.Second

// zoneCache remembers the names of the interfaces that link-local peers of a
// socket were lately on. It may be used from any goroutine.
type zoneCache struct {
	// peer is the zone of the peer: it keeps the name that it was connected by, or
	// the peer's datagrams would be a stranger's once its interface is renamed.
	peer atomic.Pointer[zone]

	// known is written with mu; it is made longer for more zones, up to maxZones.
	known atomic.Pointer[[]atomic.Pointer[zone]]
	mu    sync.Mutex
}

// maxZones bounds the time that a look takes. Each interface takes one, or two
// when it is also named by its index.
const maxZones = 64

// zone is an interface, while it is believed to have that name. It is not
// written to.
type zone struct {
	index uint32
	name  string
	alias bool // its index as a number, or another that is not its first name
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

// nameOf returns the name of an interface, or its index where there is none.
func (c *Conn) nameOf(index uint32) string {
	if peer := c.zones.peer.Load(); peer != nil && peer.index == index {
		return peer.name
	}
	now := time.Now()
	known := c.zones.all()
	for i := range known {
		if k := known[i].Load(); k != nil && k.index == index && !k.alias && now.Before(k.until) {
			return k.name
		}
	}
	name := c.askName(index)
	c.zones.remember(&zone{index, name, false, now.Add(zoneTTL)})
	return name
}

// indexOf returns the index of an interface, whose name may be its index, or 0
// where there is none.
func (c *Conn) indexOf(name string) uint32 {
	if name == "" {
		return 0
	}
	now := time.Now()
	known := c.zones.all()
	for i := range known {
		if k := known[i].Load(); k != nil && k.name == name && now.Before(k.until) {
			return k.index
		}
	}
	var index uint32
	c.rc.Control(func(fd uintptr) { index = zoneIndex(fd, name) })
	if index != 0 { // one that is missing may come any time
		c.zones.remember(&zone{index, name, c.askName(index) != name, now.Add(zoneTTL)})
	}
	return index
}

// zoned gives an address that means something on one interface only its zone.
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

func (z *zoneCache) all() []atomic.Pointer[zone] {
	if known := z.known.Load(); known != nil {
		return *known
	}
	return nil
}

// remember forgets what it contradicts, and the oldest when there are too many.
func (z *zoneCache) remember(n *zone) {
	z.mu.Lock()
	defer z.mu.Unlock()
	known, at := z.all(), -1
	for i := range known {
		k := known[i].Load()
		if k == nil || k.name == n.name || k.index == n.index && k.alias == n.alias {
			known[i].Store(nil)
			at = i
		}
	}
	switch {
	case at >= 0:
	case len(known) == maxZones:
		at = 0 // none is free
		for i := range known {
			if known[i].Load().until.Before(known[at].Load().until) {
				at = i
			}
		}
	default:
		at = len(known)
		more := make([]atomic.Pointer[zone], min(2*at+4, maxZones))
		for i := range known {
			more[i].Store(known[i].Load())
		}
		z.known.Store(&more)
		known = more
	}
	known[at].Store(n)
}

// connectTo remembers the peer's zone, if it has one.
func (c *Conn) connectTo(name string) {
	if index := c.indexOf(name); index != 0 {
		c.zones.peer.Store(&zone{index: index, name: name})
	} else {
		c.zones.peer.Store(nil)
	}
}
