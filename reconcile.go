package udp

import (
	"slices"

	"github.com/udpkit/udp/internal/socket"
)

// census is the interfaces there are at one time, and what follows for wishes.
type census struct {
	known []socket.Interface
	byKey map[ifKey]*socket.Interface
	all   [2][]target // of a wish for all interfaces, by family; nil: not needed yet
}

func newCensus(known []socket.Interface) *census { return &census{known: known} }

// find returns the interface, if it is still there.
func (c *census) find(ref ifRef) *socket.Interface {
	if c.byKey == nil {
		c.byKey = make(map[ifKey]*socket.Interface, len(c.known))
		for i := range c.known {
			c.byKey[keyOf(&c.known[i])] = &c.known[i]
		}
	}
	return c.byKey[ref.ifKey]
}

// letGo leaves what is over, since its interface is no longer what it was; it says
// whether there was any. It comes before anything is joined, by whichever socket: the
// kernel takes what is left of an interface off the next one of that index, if a
// member is already there. And what is over counts against its limits.
//
// With renew it also leaves, to have it joined anew, where a carrier is back. The
// cable may lead to another switch now, and when the first one joins, the kernel
// reports the group at once; otherwise a snooping switch would learn it from its
// next query only (RFC 3376, 8.2: up to 125 s later).
func (r *registry) letGo(known []socket.Interface, renew bool) (any bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	now := newCensus(known)
	for _, w := range r.wishes {
		for i := range w.on {
			h := &w.on[i]
			if !h.joined {
				continue
			}
			switch k := now.find(h.ifRef); {
			case k == nil:
				r.abandon(w.group, h.index, errGone)
				any = true
			case k.Emptied != h.emptied:
				r.abandon(w.group, h.index, nil)
				any = true
			case renew && !h.running && hasCarrier(k):
				r.abandon(w.group, h.index, nil)
			}
		}
	}
	return any
}

// settle brings everything in line with the interfaces there are now, after every
// registry has let go. It returns false when something was refused that may be
// granted later. Wishes for all interfaces wait for the user's filter.
func (r *registry) settle(known []socket.Interface) (all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return true
	}
	now := newCensus(known)
	var unjudged []*socket.Interface
	if slices.ContainsFunc(r.wishes, func(w *wish) bool { return w.all }) {
		unjudged = r.unjudged(known)
	}
	for _, w := range r.wishes {
		if (!w.all || len(unjudged) == 0) && r.fulfil(w, now) {
			r.tell(w)
		}
	}
	if len(unjudged) > 0 {
		r.askLater(unjudged)
	}
	if len(r.wishes) > 0 {
		r.moveBack()
	}
	return r.restoreOut(known) && r.refused == 0
}

// tell lets the user know what has become of a wish.
func (r *registry) tell(w *wish) {
	c := r.conn
	if c.cfg.OnMembership == nil {
		return
	}
	m := w.membership()
	c.post(func() {
		c.guard("OnMembership", func() { c.cfg.OnMembership(&c.multicast, m) })
	})
}

// noteRefused counts the wishes with an interface that has refused.
func (r *registry) noteRefused(w *wish, refused bool) {
	switch {
	case refused && !w.refused:
		r.refused++
		r.monitor.tryLater()
	case !refused && w.refused:
		r.refused--
	}
	w.refused = refused
}

// retryRefused tries again what an interface has refused.
func (r *registry) retryRefused(now *census) {
	if r.refused == 0 {
		return
	}
	for _, w := range r.wishes {
		if w.refused && r.fulfil(w, now) {
			r.tell(w)
		}
	}
}

// fulfil brings what holds in line with a wish and the interfaces there are. It
// says whether the user sees a difference, as when an interface was replaced.
func (r *registry) fulfil(w *wish, now *census) (changed bool) {
	targets := r.targets(w, now)
	if w.settled(targets) {
		return false
	}
	before := w.on
	kept := make([]*hold, len(targets))
	next := 0
	for i := range before {
		h := &before[i]
		if !h.joined {
			continue
		}
		// Both are in the order of the interfaces, so the next is most often the one.
		at := slices.IndexFunc(targets[next:], func(t target) bool { return t.err == nil && t.same(h.ifRef) })
		if at >= 0 {
			at += next
		} else {
			at = slices.IndexFunc(targets[:next], func(t target) bool { return t.err == nil && t.same(h.ifRef) })
		}
		if at < 0 {
			_ = r.leaveOn(w, h.index)
			continue
		}
		kept[at], next = h, at+1
	}
	w.on = make([]hold, 0, len(targets))
	for i, t := range targets {
		h := hold{ifRef: t.ifRef, err: t.err, running: t.running}
		switch {
		case kept[i] != nil:
			h.joined, h.running = true, t.running && kept[i].running // see letGo
		case t.err == nil:
			h.err = r.joinOn(w, t.index)
			h.joined = h.err == nil
		}
		w.on = append(w.on, h)
	}
	r.noteRefused(w, slices.ContainsFunc(w.on, hold.refused))
	r.filter.update(w.group, r.byGroup[w.group])
	return !slices.EqualFunc(before, w.on, func(a, b hold) bool {
		return a.name == b.name && a.ifKey == b.ifKey && (a.err == nil) == (b.err == nil) && (a.err == nil || a.err.Error() == b.err.Error())
	})
}
