package udp

import (
	"net"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/socket"
)

// target is an interface that a wish is about.
type target struct {
	ifRef
	running bool
	err     error // why it can't be joined now
}

// targets are the interfaces that a wish is about, each once; they are not to be
// changed. The named ones come last.
func (r *registry) targets(w *wish, now *census) (ts []target) {
	w.follow(now.known)
	if w.all {
		ts = r.fitting(w.group, now)
	}
	if len(w.except)+len(w.named) == 0 {
		return ts
	}
	has := func(ref ifRef) bool { return slices.ContainsFunc(ts, func(t target) bool { return t.is(ref) }) }
	ts = slices.DeleteFunc(slices.Clone(ts), func(t target) bool { return slices.ContainsFunc(w.except, t.is) })
	for i := range w.named {
		if t := resolve(&w.named[i], w.group, now.known); !has(t.ifRef) {
			ts = append(ts, t)
		}
	}
	return ts
}

// fitting are the interfaces of a wish for all. What a wish excepts counts as
// another one than loopback too: to leave an interface joins none.
func (r *registry) fitting(group netip.Addr, now *census) []target {
	family := 0
	if group.Is6() {
		family = 1
	}
	if now.all[family] != nil {
		return now.all[family]
	}
	ts := []target{}
	add := func(fits func(*socket.Interface) bool) {
		for i := range now.known {
			if k := &now.known[i]; k.Flags&net.FlagUp != 0 && fits(k) && r.admits(k) {
				ts = append(ts, target{ifRef: refOf(k), running: hasCarrier(k)})
			}
		}
	}
	if add(func(k *socket.Interface) bool { return multicasts(k, group) }); len(ts) == 0 {
		add(func(k *socket.Interface) bool { return k.Flags&net.FlagLoopback != 0 })
	}
	now.all[family] = ts
	return ts
}

// multicasts says whether an interface can carry what is sent to a group, other
// than within the host.
func multicasts(k *socket.Interface, group netip.Addr) bool {
	return k.Flags&net.FlagMulticast != 0 && k.Flags&net.FlagLoopback == 0 &&
		slices.ContainsFunc(k.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == group.Is4() })
}

// resolve finds a named interface, and notes in ref what it is now.
func resolve(ref *ifRef, group netip.Addr, known []socket.Interface) target {
	k := ref.follow(known)
	t := target{ifRef: *ref}
	switch {
	case k == nil:
		t.err = errGone
	case k.Flags&net.FlagUp == 0:
		t.err = errDown
	case k.MTU > 0 && k.MTU < socket.MinMTU(group.Is6()):
		t.err = errShort
	default:
		t.running = hasCarrier(k)
	}
	return t
}

// hasCarrier says whether an interface has a carrier.
func hasCarrier(k *socket.Interface) bool { return k.Flags&(net.FlagRunning|net.FlagLoopback) != 0 }
