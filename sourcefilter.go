package udp

import (
	"net/netip"
	"slices"
)

// A sourceFilter is what the kernel is told about a group on one interface: a
// socket has one there, whatever it has joined (RFC 3376, 3.1). So all wishes for
// the group go into one, and what is more than one of them asked for, the
// groupFilter keeps out. The zero value is to be no member.
type sourceFilter struct {
	exclude bool // all sources but these; else these only
	sources []netip.Addr
}

func (f sourceFilter) none() bool { return !f.exclude && len(f.sources) == 0 }

// filterOn is what the wishes come to that are joined on one interface for the
// group of w, which counts as wanted: joined or not.
//
// Who is a member for all sources hears those of the other wishes too.
func (r *registry) filterOn(index int, w *wish, wanted bool) sourceFilter {
	var plain *wish
	var sources []netip.Addr
	for _, other := range r.byGroup[w.group] {
		switch {
		case other == w && !wanted, other != w && !other.joinedOn(index):
		case other.source.IsValid():
			sources = append(sources, other.source)
		default:
			plain = other
		}
	}
	if plain == nil {
		return sourceFilter{sources: sources}
	}
	return sourceFilter{exclude: true, sources: without(plain.blocked, sources)}
}

// without returns those of as that are not among others.
func without(as, others []netip.Addr) (rest []netip.Addr) {
	for _, a := range as {
		if !slices.Contains(others, a) {
			rest = append(rest, a)
		}
	}
	return rest
}

// joinOn joins on one interface.
func (r *registry) joinOn(w *wish, index int) error {
	return r.change(w.group, index, r.filterOn(index, w, false), r.filterOn(index, w, true))
}

// leaveOn leaves on one interface.
func (r *registry) leaveOn(w *wish, index int) error {
	return r.change(w.group, index, r.filterOn(index, w, true), r.filterOn(index, w, false))
}

// abandon leaves on one interface for all wishes for a group; why is nil if it is
// to be joined again at once.
func (r *registry) abandon(group netip.Addr, index int, why error) {
	for _, w := range r.byGroup[group] {
		if h := w.at(index); h != nil && h.joined {
			h.joined, h.err = false, why
		}
	}
	_ = r.conn.sock.Leave(group, netip.Addr{}, index)
}

// change brings the kernel from one filter to another, with as few calls as that
// takes.
func (r *registry) change(group netip.Addr, index int, from, to sourceFilter) error {
	sock := r.conn.sock
	switch {
	case to.none() && from.none():
		return nil
	case to.none():
		return sock.Leave(group, netip.Addr{}, index)
	case from.none():
		return r.install(group, index, to)
	case from.exclude != to.exclude:
		// There is no call that changes the mode and keeps what is joined.
		_ = sock.Leave(group, netip.Addr{}, index)
		err := r.install(group, index, to)
		if !to.exclude {
			return nil // those that were refused are told
		}
		if err != nil {
			_ = r.install(group, index, from)
		}
		return err
	case to.exclude:
		for _, source := range without(from.sources, to.sources) {
			_ = r.block(group, source, index, false)
		}
		r.blockAll(group, index, without(to.sources, from.sources))
		return nil
	}
	var err error
	for _, source := range without(from.sources, to.sources) {
		err = sock.Leave(group, source, index)
	}
	for _, source := range without(to.sources, from.sources) {
		err = sock.Join(group, source, index)
	}
	return err
}

// install makes the socket a member where it is none. The wishes that were joined
// there for one of the sources, and are refused, are told.
func (r *registry) install(group netip.Addr, index int, f sourceFilter) (err error) {
	if f.exclude {
		if err = r.conn.sock.Join(group, netip.Addr{}, index); err == nil {
			r.blockAll(group, index, f.sources)
		}
		return err
	}
	for _, source := range f.sources {
		if e := r.conn.sock.Join(group, source, index); e != nil {
			err = e
			r.refuse(membershipKey{group, source}, index, e)
		}
	}
	return err
}

// refuse notes that a wish that was joined could not be joined again.
func (r *registry) refuse(key membershipKey, index int, err error) {
	w := r.find(key)
	if w == nil {
		return
	}
	if h := w.at(index); h != nil && h.joined {
		h.joined, h.err = false, err
		r.noteRefused(w, true)
		r.tell(w)
	}
}

// moveBack has the socket join itself what it had no room for, so that the kernel
// keeps strangers away again. It is for when all that is over has been left.
func (r *registry) moveBack() {
	if s, ok := r.conn.sock.(interface{ MoveBack() }); ok {
		s.MoveBack()
	}
}

// blockAll tells the kernel of sources to keep out, as many as it takes. The
// groupFilter keeps out all.
func (r *registry) blockAll(group netip.Addr, index int, sources []netip.Addr) {
	for _, source := range sources {
		if r.block(group, source, index, true) != nil {
			return
		}
	}
}
