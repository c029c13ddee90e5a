package mcast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/udpkit/udp/internal/sys"
)

// sourceFilter is the kernel's filter for one group on one interface. A socket has only one
// there (RFC 3376 section 3.1), so it combines all desired memberships of the group.
// groupFilter then drops datagrams that no membership accepts. The zero value means: not a
// member.
type sourceFilter struct {
	exclude bool // all sources except these; otherwise these only
	sources []netip.Addr
}

func (f sourceFilter) none() bool { return !f.exclude && len(f.sources) == 0 }

// filterOn combines the memberships for the group of d that are joined on one interface. d
// itself is included if joined is set.
func (m *Manager) filterOn(index int, d *desired, joined bool) sourceFilter {
	var plain *desired
	var sources []netip.Addr
	for _, other := range m.byGroup[d.group] {
		switch {
		case other == d && !joined, other != d && !other.joinedOn(index):
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

// joinOn joins d on one interface.
func (m *Manager) joinOn(d *desired, index int) error {
	return m.change(d.group, index, m.filterOn(index, d, false), m.filterOn(index, d, true))
}

// leaveOn leaves d on one interface.
func (m *Manager) leaveOn(d *desired, index int) error {
	return m.change(d.group, index, m.filterOn(index, d, true), m.filterOn(index, d, false))
}

// abandon leaves every membership for a group on one interface. why is nil if reconcile will
// join again.
func (m *Manager) abandon(group netip.Addr, index int, why error) {
	for _, d := range m.byGroup[group] {
		if a := d.at(index); a != nil && a.joined {
			a.joined, a.err = false, why
		}
	}
	_ = m.cfg.Socket.Leave(group, netip.Addr{}, index)
}

// change changes the kernel's filter with as few calls as possible.
func (m *Manager) change(group netip.Addr, index int, from, to sourceFilter) error {
	sock := m.cfg.Socket
	switch {
	case to.none() && from.none():
		return nil
	case to.none():
		return sock.Leave(group, netip.Addr{}, index)
	case from.none():
		return m.install(group, index, to)
	case from.exclude != to.exclude:
		// No call changes the mode and keeps the membership.
		_ = sock.Leave(group, netip.Addr{}, index)
		err := m.install(group, index, to)
		if !to.exclude {
			return nil // install has recorded the refusals
		}
		if err != nil {
			_ = m.install(group, index, from)
		}
		return err
	case to.exclude:
		for _, source := range without(from.sources, to.sources) {
			_ = sock.Block(group, source, index, false)
		}
		m.blockAll(group, index, without(to.sources, from.sources))
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

// install joins where the socket is not a member. It records the refusal of a source that
// was joined before.
func (m *Manager) install(group netip.Addr, index int, f sourceFilter) (err error) {
	if f.exclude {
		if err = m.cfg.Socket.Join(group, netip.Addr{}, index); err == nil {
			m.blockAll(group, index, f.sources)
		}
		return err
	}
	for _, source := range f.sources {
		if e := m.cfg.Socket.Join(group, source, index); e != nil {
			err = e
			m.recordRefusal(key{group, source}, index, e)
		}
	}
	return err
}

func (m *Manager) recordRefusal(k key, index int, err error) {
	d := m.find(k)
	if d == nil {
		return
	}
	if a := d.at(index); a != nil && a.joined {
		a.joined, a.err = false, err
		m.noteRefused(d, true)
		m.changed(d)
	}
}

// blockAll blocks sources in the kernel, up to its limit. groupFilter blocks all of them.
func (m *Manager) blockAll(group netip.Addr, index int, sources []netip.Addr) {
	for _, source := range sources {
		if m.cfg.Socket.Block(group, source, index, true) != nil {
			return
		}
	}
}

// Block blocks a source of a group that was joined for all sources, or unblocks it.
func (m *Manager) Block(group, source netip.Addr, on bool) error {
	k := keyOf(group, source)
	_, unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	d := m.find(key{group: k.group})
	if d == nil {
		return errNotJoined
	}
	before := make([]sourceFilter, len(d.on))
	for i, a := range d.on {
		before[i] = m.filterOn(a.index, d, a.joined)
	}
	at := slices.Index(d.blocked, k.source)
	switch {
	case on && at >= 0:
		return nil
	case on:
		d.blocked = append(d.blocked, k.source)
	case at < 0:
		return fmt.Errorf("not blocked: %w", sys.EADDRNOTAVAIL)
	default:
		d.blocked = slices.Delete(d.blocked, at, at+1)
	}
	// Without the destination of a datagram groupFilter cannot block.
	kernelOnly := on && !m.cfg.Socket.Info().PacketInfo
	if kernelOnly {
		if err := m.blockInKernel(d, k.source); err != nil {
			d.blocked = d.blocked[:len(d.blocked)-1]
			return err
		}
	}
	m.filter.update(k.group, m.byGroup[k.group])
	if kernelOnly {
		return nil
	}
	for i, a := range d.on {
		if a.joined {
			_ = m.change(d.group, a.index, before[i], m.filterOn(a.index, d, true))
		}
	}
	return nil
}

// blockInKernel blocks a source on every interface, or on none.
func (m *Manager) blockInKernel(d *desired, source netip.Addr) error {
	var done []int
	anywhere := false
	for _, a := range d.on {
		if !a.joined {
			continue
		}
		anywhere = true
		if !slices.Contains(m.filterOn(a.index, d, true).sources, source) {
			continue // it is also joined by itself
		}
		if err := m.cfg.Socket.Block(d.group, source, a.index, true); err != nil {
			for _, index := range done {
				_ = m.cfg.Socket.Block(d.group, source, index, false)
			}
			return err
		}
		done = append(done, a.index)
	}
	if anywhere {
		return nil
	}
	// Nothing is joined, so this fails, but the error shows whether the system can block.
	if err := m.cfg.Socket.Block(d.group, source, 0, true); errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
