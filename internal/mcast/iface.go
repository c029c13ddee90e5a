package mcast

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/udpkit/udp/internal/socket"
)

// ifRef refers to an interface: to the one of the key as long as it exists, even under
// another name, and after that to any interface of the name.
type ifRef struct {
	name string
	ifKey
	emptied uint64 // see socket.Interface
}

// ifKey identifies an interface from its creation to its removal. It is zero while there is
// no interface.
type ifKey struct {
	index      int
	generation uint64
}

func ifKeyOf(i *socket.Interface) ifKey { return ifKey{i.Index, i.Generation} }

func refOf(i *socket.Interface) ifRef { return ifRef{i.Name, ifKeyOf(i), i.Emptied} }

// refer returns references to the interfaces that a caller named, by ifs or by a zone.
func refer(now []socket.Interface, zone string, ifs []*net.Interface) (refs []ifRef, err error) {
	for _, ifi := range ifs {
		if ifi == nil {
			return nil, &net.AddrError{Err: "nil interface"}
		}
		ref := ifRef{name: ifi.Name}
		i := find(now, func(i *socket.Interface) bool { return i.Index == ifi.Index })
		if i == nil || i.Name != ifi.Name { // out of date: another interface may have the index
			if named := findName(now, ifi.Name); named != nil {
				i = named
			}
		}
		if i != nil {
			ref = refOf(i)
		}
		if ref.name == "" {
			return nil, &net.AddrError{Err: "no such interface", Addr: strconv.Itoa(ifi.Index)}
		}
		refs = append(refs, ref)
	}
	if zone == "" || len(ifs) > 0 {
		return refs, nil
	}
	i := find(now, func(i *socket.Interface) bool { return i.Name == zone || strconv.Itoa(i.Index) == zone })
	if i != nil {
		return []ifRef{refOf(i)}, nil
	}
	if _, err := strconv.Atoi(zone); err == nil {
		return nil, &net.AddrError{Err: "no such interface", Addr: zone}
	}
	return []ifRef{{name: zone}}, nil
}

func find(now []socket.Interface, is func(*socket.Interface) bool) *socket.Interface {
	for i := range now {
		if is(&now[i]) {
			return &now[i]
		}
	}
	return nil
}

func findName(now []socket.Interface, name string) *socket.Interface {
	return find(now, func(i *socket.Interface) bool { return i.Name == name })
}

// follow finds the interface and updates the reference.
func (r *ifRef) follow(now []socket.Interface) *socket.Interface {
	i := find(now, func(i *socket.Interface) bool { return r.index != 0 && r.ifKey == ifKeyOf(i) })
	if i == nil {
		i = findName(now, r.name)
	}
	if i == nil {
		*r = ifRef{name: r.name}
		return nil
	}
	*r = refOf(i)
	return i
}

// matches reports whether two references mean the same interface: by index, or by name if
// one of them has no index.
func (r ifRef) matches(other ifRef) bool {
	if r.index != 0 && other.index != 0 {
		return r.index == other.index
	}
	return r.name == other.name
}

// sameJoins reports whether a join by one reference still exists for the other.
func (r ifRef) sameJoins(other ifRef) bool {
	return r.ifKey == other.ifKey && r.emptied == other.emptied
}

// target is an interface on which a membership is desired.
type target struct {
	ifRef
	carrier bool
	usable  bool  // see func usable
	err     error // why it cannot be joined now
}

// snapshot is the list of interfaces at one time, with results that are shared by all desired
// memberships of a socket.
type snapshot struct {
	ifs        []socket.Interface
	byKey      map[ifKey]*socket.Interface
	candidates [2][]target // by family, for memberships on all interfaces; nil: not computed
	filter     func(*net.Interface) bool
	admitted   map[int]bool // results of filter, by index
}

func (m *Manager) snapshot(ifs []socket.Interface) *snapshot {
	return &snapshot{ifs: ifs, filter: m.cfg.Filter}
}

// find returns the interface of a reference if it still exists.
func (s *snapshot) find(k ifKey) *socket.Interface {
	if s.byKey == nil {
		s.byKey = make(map[ifKey]*socket.Interface, len(s.ifs))
		for i := range s.ifs {
			s.byKey[ifKeyOf(&s.ifs[i])] = &s.ifs[i]
		}
	}
	return s.byKey[k]
}

// admits calls the filter, once for each interface.
func (s *snapshot) admits(i *socket.Interface) bool {
	if s.filter == nil {
		return true
	}
	yes, ok := s.admitted[i.Index]
	if !ok {
		if s.admitted == nil {
			s.admitted = map[int]bool{}
		}
		ifi := i.Interface // the filter may change it
		yes = s.filter(&ifi)
		s.admitted[i.Index] = yes
	}
	return yes
}

// targets returns the interfaces on which d is desired, each once, the named ones last. The
// caller must not change the slice.
func (s *snapshot) targets(d *desired) (ts []target) {
	d.follow(s.ifs)
	if d.all {
		ts = s.allFor(d.group)
	}
	if len(d.except)+len(d.named) == 0 {
		return ts
	}
	ts = slices.DeleteFunc(slices.Clone(ts), func(t target) bool { return slices.ContainsFunc(d.except, t.matches) })
	for i := range d.named {
		t := resolve(&d.named[i], d.group, s.ifs)
		if !slices.ContainsFunc(ts, func(other target) bool { return other.matches(t.ifRef) }) {
			ts = append(ts, t)
		}
	}
	return ts
}

// allFor returns the interfaces of a membership on all interfaces: those that are up, can
// multicast and have an address of the family, or the loopback interface if there are none.
// It includes interfaces that the membership excludes, so that leaving the last one does not
// join loopback.
func (s *snapshot) allFor(group netip.Addr) []target {
	family := 0
	if group.Is6() {
		family = 1
	}
	if s.candidates[family] != nil {
		return s.candidates[family]
	}
	ts := []target{}
	add := func(fits func(*socket.Interface) bool) {
		for n := range s.ifs {
			if i := &s.ifs[n]; i.Flags&net.FlagUp != 0 && fits(i) && s.admits(i) {
				ts = append(ts, target{ifRef: refOf(i), carrier: hasCarrier(i), usable: usable(i, group)})
			}
		}
	}
	if add(func(i *socket.Interface) bool { return multicasts(i, group) }); len(ts) == 0 {
		add(func(i *socket.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	}
	s.candidates[family] = ts
	return ts
}

// multicasts reports whether datagrams to a group can leave this host by an interface.
func multicasts(i *socket.Interface, group netip.Addr) bool {
	return i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagLoopback == 0 && hasAddr(i, group)
}

func hasAddr(i *socket.Interface, group netip.Addr) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == group.Is4() })
}

// usable reports whether an interface has an address that can be the source of datagrams to a
// group. An IPv6 address cannot before duplicate address detection (RFC 4862).
func usable(i *socket.Interface, group netip.Addr) bool {
	return hasAddr(i, group) && !(group.Is6() && i.Tentative)
}

// resolve finds a named interface and updates ref.
func resolve(ref *ifRef, group netip.Addr, now []socket.Interface) target {
	i := ref.follow(now)
	t := target{ifRef: *ref}
	switch {
	case i == nil:
		t.err = errRemoved
	case i.Flags&net.FlagUp == 0:
		t.err = errDown
	case i.MTU > 0 && i.MTU < socket.MinMTU(group.Is6()):
		t.err = errShort
	default:
		t.carrier, t.usable = hasCarrier(i), usable(i, group)
	}
	return t
}

func hasCarrier(i *socket.Interface) bool { return i.Flags&(net.FlagRunning|net.FlagLoopback) != 0 }
