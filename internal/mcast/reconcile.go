package mcast

import (
	"slices"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/socket"
)

var _ ifmon.Follower = (*follower)(nil)

// LeaveStale implements ifmon.Follower. It drops memberships on interfaces that were removed
// or replaced, or have lost their memberships. Every socket must do so before any socket
// joins, because Linux applies a leave on a deleted interface to whichever interface got its
// index.
//
// With renew it also leaves where a carrier has returned, so that reconcile joins again: the
// cable may lead to another switch now. The kernel reports a group at once when its first
// member joins. Otherwise a snooping switch would learn of it only from the next query (RFC
// 3376 section 8.2: up to 125 s later).
func (f *follower) LeaveStale(now []socket.Interface, renew bool) (any bool) {
	m := (*Manager)(f)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return false
	}
	s := m.snapshot(now)
	for _, d := range m.desired {
		for i := range d.on {
			a := &d.on[i]
			if !a.joined {
				continue
			}
			switch i := s.find(a.ifKey); {
			case i == nil:
				m.abandon(d.group, a.index, errRemoved)
				any = true
			case i.Emptied != a.emptied:
				m.abandon(d.group, a.index, nil)
				any = true
			case renew && !a.carrier && hasCarrier(i):
				m.abandon(d.group, a.index, nil)
			}
		}
	}
	return any
}

// Reconcile implements ifmon.Follower.
func (f *follower) Reconcile(now []socket.Interface) (complete bool) {
	m := (*Manager)(f)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return true
	}
	s := m.snapshot(now)
	for _, d := range m.desired {
		if m.reconcile(d, s) {
			m.changed(d)
		}
	}
	return m.restoreOutgoing(now) && m.refused == 0
}

// reconcile joins and leaves until d is joined on exactly its targets, as far as possible. It
// reports whether the state has changed for the user. That includes an interface that was
// replaced, or has become usable.
func (m *Manager) reconcile(d *desired, now *snapshot) (changed bool) {
	targets := now.targets(d)
	if d.matchesActual(targets) {
		return false
	}
	before := d.on
	kept := make([]*actual, len(targets))
	next := 0
	for i := range before {
		a := &before[i]
		if !a.joined {
			continue
		}
		at := indexOf(targets, next, a.ifRef)
		if at < 0 {
			_ = m.leaveOn(d, a.index)
			continue
		}
		kept[at], next = a, at+1
	}
	d.on = make([]actual, 0, len(targets))
	for i, t := range targets {
		a := actual{ifRef: t.ifRef, err: t.err, carrier: t.carrier, usable: t.usable}
		switch {
		case kept[i] != nil:
			a.joined, a.carrier = true, t.carrier && kept[i].carrier // see LeaveStale
			changed = changed || t.usable && !kept[i].usable
		case t.err == nil:
			a.err = m.joinOn(d, t.index)
			a.joined = a.err == nil
		}
		d.on = append(d.on, a)
	}
	m.noteRefused(d, slices.ContainsFunc(d.on, actual.refused))
	m.filter.update(d.group, m.byGroup[d.group])
	return changed || !slices.EqualFunc(before, d.on, func(a, b actual) bool {
		return a.name == b.name && a.ifKey == b.ifKey && (a.err == nil) == (b.err == nil) && (a.err == nil || a.err.Error() == b.err.Error())
	})
}

// indexOf returns the index of the target that is still joined by ref, or -1. It starts at
// next, because both lists are in the order of the interfaces.
func indexOf(targets []target, next int, ref ifRef) int {
	joined := func(t target) bool { return t.err == nil && t.sameJoins(ref) }
	if at := slices.IndexFunc(targets[next:], joined); at >= 0 {
		return next + at
	}
	return slices.IndexFunc(targets[:next], joined)
}

// noteRefused counts the desired memberships that an interface refused.
func (m *Manager) noteRefused(d *desired, refused bool) {
	switch {
	case refused && !d.refused:
		m.refused++
		m.monitor.Retry()
	case !refused && d.refused:
		m.refused--
	}
	d.refused = refused
}

// retryRefused reconciles the memberships that an interface refused.
func (m *Manager) retryRefused(now *snapshot) {
	if m.refused == 0 {
		return
	}
	for _, d := range m.desired {
		if d.refused && m.reconcile(d, now) {
			m.changed(d)
		}
	}
}
