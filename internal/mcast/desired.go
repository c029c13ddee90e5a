package mcast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Membership is a desired membership and its state on each interface.
type Membership struct {
	Group   netip.Addr // without a zone
	Source  netip.Addr // valid: source-specific
	All     bool
	Blocked []netip.Addr
	On      []State
}

// A State is the state of a desired membership on one interface.
type State struct {
	Name  string
	Index int   // 0 while there is no interface of that name
	Err   error // nil: joined
}

// key identifies a desired membership; source is invalid for one that is for all sources.
type key struct{ group, source netip.Addr }

func keyOf(group, source netip.Addr) key {
	return key{group.Unmap().WithZone(""), source.Unmap().WithZone("")}
}

// desired is a membership that the user wants: on all interfaces except some, on named ones,
// or both.
type desired struct {
	key
	number  uint64 // in the order of joining
	all     bool
	except  []ifRef // of all
	named   []ifRef
	blocked []netip.Addr
	on      []actual
	refused bool // by at least one interface; see Manager.noteRefused
	changed bool // Changes has not returned it yet
	removed bool
}

// actual is the state of a desired membership on one interface.
type actual struct {
	ifRef
	err     error
	joined  bool // may be false without err, after LeaveStale and before reconcile
	carrier bool // the interface has had a carrier since it was joined
	usable  bool // see target
}

// refused reports whether an existing interface could not be joined.
func (a actual) refused() bool {
	_, absent := a.err.(*stateError)
	return a.err != nil && !absent
}

func (d *desired) at(index int) *actual {
	for i := range d.on {
		if d.on[i].index == index {
			return &d.on[i]
		}
	}
	return nil
}

func (d *desired) joinedOn(index int) bool {
	a := d.at(index)
	return a != nil && a.joined
}

// add adds the interfaces, or all interfaces if none is given.
func (d *desired) add(refs []ifRef) {
	if len(refs) == 0 {
		d.all, d.except = true, nil
		return
	}
	d.except, d.named = slices.Clone(d.except), slices.Clone(d.named) // Join may restore them
	for _, ref := range refs {
		d.except = slices.DeleteFunc(d.except, ref.matches)
		if !slices.ContainsFunc(d.named, ref.matches) {
			d.named = append(d.named, ref)
		}
	}
}

// drop removes the interfaces, or all interfaces if none is given. It reports whether none
// remains.
func (d *desired) drop(refs []ifRef) (empty bool) {
	for _, ref := range refs {
		d.named = slices.DeleteFunc(d.named, ref.matches)
		if d.all && !slices.ContainsFunc(d.except, ref.matches) {
			d.except = append(d.except, ref)
		}
	}
	return len(refs) == 0 || !d.all && len(d.named) == 0
}

// includes reports whether the membership is desired on an interface, present or not.
func (d *desired) includes(ref ifRef) bool {
	return d.all && !slices.ContainsFunc(d.except, ref.matches) || slices.ContainsFunc(d.named, ref.matches) ||
		slices.ContainsFunc(d.on, func(a actual) bool { return a.matches(ref) })
}

// follow updates the references to interfaces.
func (d *desired) follow(ifs []socket.Interface) {
	for i := range d.named {
		d.named[i].follow(ifs)
	}
	for i := range d.except {
		d.except[i].follow(ifs)
	}
}

// matchesActual reports whether the membership is joined on exactly its targets, so that
// reconcile has nothing to do.
func (d *desired) matchesActual(targets []target) bool {
	if len(d.on) != len(targets) {
		return false
	}
	for i := range targets {
		a, t := &d.on[i], &targets[i]
		if !a.joined || t.err != nil || a.ifRef != t.ifRef || a.carrier != t.carrier || a.usable != t.usable {
			return false
		}
	}
	return true
}

// failure returns nil if one of the interfaces is joined, and otherwise the errors of all.
// Without refs it looks at every interface of d.
func (d *desired) failure(refs []ifRef) error {
	var errs []error
	for _, a := range d.on {
		if len(refs) > 0 && !slices.ContainsFunc(refs, a.matches) {
			continue
		}
		if a.err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", a.name, a.err))
	}
	if errs == nil {
		return errNoInterface
	}
	return errors.Join(errs...)
}

// A stateError is a state of an interface that prevents a join. Unlike other errors of a
// join, it ends only with a change of the interface.
type stateError struct {
	text  string
	errno error
}

func (e *stateError) Error() string { return e.text }
func (e *stateError) Unwrap() error { return e.errno }

var (
	errRemoved = &stateError{"no such interface", sys.ENODEV}
	errDown    = &stateError{"interface is down", sys.ENETDOWN}
	// errShort: the kernel has disabled the protocol.
	errShort = &stateError{"the interface's MTU is too small for the protocol", sys.ENETDOWN}

	errNoInterface = fmt.Errorf("no interface is up, can multicast and has an address of the family: %w", errRemoved)
)

func (d *desired) membership() Membership {
	m := Membership{
		Group: d.group, Source: d.source, All: d.all, Blocked: slices.Clone(d.blocked),
		On: make([]State, len(d.on)),
	}
	for i, a := range d.on {
		m.On[i] = State{Name: a.name, Index: a.index, Err: a.err}
		if a.err == errRemoved {
			m.On[i].Index = 0 // reconcile will clear index
		}
	}
	return m
}
