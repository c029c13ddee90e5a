package udp

import (
	"net"
	"strconv"

	"github.com/udpkit/udp/internal/socket"
)

// ifRef names an interface. It is the one of the index and generation for as
// long as that exists, also under another name; then any of that name.
type ifRef struct {
	name string
	ifKey
	emptied uint64
}

// refer finds the interfaces that a caller has named, in ifs or as a zone.
func refer(known []socket.Interface, zone string, ifs []*net.Interface) (refs []ifRef, err error) {
	for _, ifi := range ifs {
		if ifi == nil {
			return nil, &net.AddrError{Err: "nil interface"}
		}
		ref := ifRef{name: ifi.Name}
		k := find(known, func(k *socket.Interface) bool { return k.Index == ifi.Index })
		if k == nil || k.Name != ifi.Name { // it is out of date: the index may be another's by now
			if named := find(known, func(k *socket.Interface) bool { return k.Name == ifi.Name }); named != nil {
				k = named
			}
		}
		if k != nil {
			ref = refOf(k)
		}
		if ref.name == "" {
			return nil, &net.AddrError{Err: "no such interface", Addr: strconv.Itoa(ifi.Index)}
		}
		refs = append(refs, ref)
	}
	if zone != "" && len(ifs) == 0 {
		k := find(known, func(k *socket.Interface) bool { return k.Name == zone || strconv.Itoa(k.Index) == zone })
		if k != nil {
			return []ifRef{refOf(k)}, nil
		}
		if _, err := strconv.Atoi(zone); err == nil {
			return nil, &net.AddrError{Err: "no such interface", Addr: zone}
		}
		refs = append(refs, ifRef{name: zone})
	}
	return refs, nil
}

func find(known []socket.Interface, is func(*socket.Interface) bool) *socket.Interface {
	for i := range known {
		if is(&known[i]) {
			return &known[i]
		}
	}
	return nil
}

func refOf(k *socket.Interface) ifRef {
	return ifRef{k.Name, keyOf(k), k.Emptied}
}

// ifKey tells interfaces apart, whatever they are called.
type ifKey struct {
	index      int
	generation uint64
}

func keyOf(k *socket.Interface) ifKey { return ifKey{k.Index, k.Generation} }

// follow finds the interface, and notes what it is now.
func (i *ifRef) follow(known []socket.Interface) *socket.Interface {
	k := find(known, func(k *socket.Interface) bool { return i.index != 0 && i.ifKey == keyOf(k) })
	if k == nil {
		k = find(known, func(k *socket.Interface) bool { return k.Name == i.name })
	}
	if k == nil {
		*i = ifRef{name: i.name}
		return nil
	}
	*i = refOf(k)
	return k
}

// is says whether two references mean one interface.
func (i ifRef) is(other ifRef) bool {
	if i.index != 0 && other.index != 0 {
		return i.index == other.index
	}
	return i.name == other.name
}

// same is is, for references that are both up to date: what was joined on one is
// joined on the other.
func (i ifRef) same(other ifRef) bool { return i.ifKey == other.ifKey && i.emptied == other.emptied }
