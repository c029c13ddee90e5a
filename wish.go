package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// wish is a membership that was asked for: on all interfaces except some, on named
// ones, or both.
type wish struct {
	membershipKey
	number  uint64 // in the order of joining
	all     bool
	except  []ifRef // left, when all
	named   []ifRef
	blocked []netip.Addr
	on      []hold
	refused bool // by an interface at least
}

// hold is what has become of a wish on one interface.
type hold struct {
	ifRef
	err     error
	joined  bool // not, though there is no err: it was left to be joined anew
	running bool // the interface had a carrier when it was joined
}

// at is what has become of a wish on the interface of an index.
func (w *wish) at(index int) *hold {
	for i := range w.on {
		if w.on[i].index == index {
			return &w.on[i]
		}
	}
	return nil
}

func (w *wish) joinedOn(index int) bool {
	h := w.at(index)
	return h != nil && h.joined
}

// refused says whether an interface that is there has not been joined.
func (h hold) refused() bool {
	_, waits := h.err.(*wait)
	return h.err != nil && !waits
}

// add wishes for the interfaces too, or for all when there are none.
func (w *wish) add(refs []ifRef) {
	if len(refs) == 0 {
		w.all, w.except = true, nil
		return
	}
	w.except, w.named = slices.Clone(w.except), slices.Clone(w.named)
	for _, ref := range refs {
		w.except = slices.DeleteFunc(w.except, ref.is)
		if !slices.ContainsFunc(w.named, ref.is) {
			w.named = append(w.named, ref)
		}
	}
}

// forget is the opposite of add. It says whether nothing is wished any more.
func (w *wish) forget(refs []ifRef) (all bool) {
	for _, ref := range refs {
		w.named = slices.DeleteFunc(w.named, ref.is)
		if w.all && !slices.ContainsFunc(w.except, ref.is) {
			w.except = append(w.except, ref)
		}
	}
	return len(refs) == 0 || !w.all && len(w.named) == 0
}

// reaches says whether a wish is about an interface, be it there or not.
func (w *wish) reaches(ref ifRef) bool {
	return w.all && !slices.ContainsFunc(w.except, ref.is) || slices.ContainsFunc(w.named, ref.is) ||
		slices.ContainsFunc(w.on, func(h hold) bool { return h.is(ref) })
}

// follow notes what has become of the interfaces that a wish names.
func (w *wish) follow(known []socket.Interface) {
	for i := range w.named {
		w.named[i].follow(known)
	}
	for i := range w.except {
		w.except[i].follow(known)
	}
}

// settled says whether a wish holds on all its targets, and nowhere else, so that
// nothing is to be done.
func (w *wish) settled(targets []target) bool {
	if len(w.on) != len(targets) {
		return false
	}
	for i := range targets {
		h, t := &w.on[i], &targets[i]
		if !h.joined || t.err != nil || h.ifRef != t.ifRef || t.running != h.running {
			return false
		}
	}
	return true
}

// failure is nil if one at least of the interfaces that were asked for, of all
// when there are none, holds. Otherwise it is all their errors.
func (w *wish) failure(refs []ifRef) error {
	var errs []error
	for _, h := range w.on {
		if len(refs) > 0 && !slices.ContainsFunc(refs, h.is) {
			continue
		}
		if h.err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h.name, h.err))
	}
	if errs == nil {
		return fmt.Errorf("no interface fits: %w", errGone)
	}
	return errors.Join(errs...)
}

// wait is a state that only a change of the interface can end.
type wait struct {
	text  string
	errno error
}

func (w *wait) Error() string { return w.text }
func (w *wait) Unwrap() error { return w.errno }

var (
	errGone = &wait{"no such interface", sys.ENODEV}
	errDown = &wait{"interface is down", sys.ENETDOWN}
	// errShort: the kernel has switched the protocol off there.
	errShort = &wait{"interface's MTU is too short for the protocol", sys.ENETDOWN}
)

func (w *wish) membership() Membership {
	m := Membership{
		Group: w.group, Source: w.source, All: w.all, Blocked: slices.Clone(w.blocked),
		On: make([]InterfaceMembership, len(w.on)),
	}
	for i, h := range w.on {
		m.On[i] = InterfaceMembership{Name: h.name, Index: h.index, Err: h.err}
		if h.err == errGone {
			m.On[i].Index = 0 // also while it is still to be settled
		}
	}
	return m
}
