package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/udpkit/udp/internal/sys"
)

// groupFilter says which datagrams to groups are wished for. The kernels do it
// too, Linux exactly, others less so; none of them takes back what it has queued
// before a group was left. The reader asks it without a lock.
type groupFilter struct {
	groups sync.Map // netip.Addr: []accepted, never changed
}

// accepted is one place where a group was joined.
type accepted struct {
	ifindex int
	source  netip.Addr   // valid: only this one
	blocked []netip.Addr // not these
}

// update makes what holds of the wishes for one group known to the reader.
func (f *groupFilter) update(group netip.Addr, wishes []*wish) {
	var as []accepted
	for _, w := range wishes {
		blocked := slices.Clone(w.blocked)
		for _, h := range w.on {
			if h.err == nil {
				as = append(as, accepted{ifindex: h.index, source: w.source, blocked: blocked})
			}
		}
	}
	if as == nil {
		f.groups.Delete(group)
		return
	}
	f.groups.Store(group, as)
}

// wants says whether a datagram was wished for; ifindex is 0 where unknown.
func (f *groupFilter) wants(group, source netip.Addr, ifindex int) bool {
	as, ok := f.groups.Load(group)
	if !ok {
		return false
	}
	source = source.WithZone("")
	for _, a := range as.([]accepted) {
		if (ifindex == 0 || a.ifindex == ifindex) && (!a.source.IsValid() || a.source == source) &&
			!slices.Contains(a.blocked, source) {
			return true
		}
	}
	return false
}

// wants says whether a datagram to a group, or to anything else, was wished
// for. A Conn without memberships wants no group.
func (r *registry) wants(to, source netip.Addr, ifindex int) bool {
	switch {
	case !to.IsMulticast():
		return r == nil || !r.only.IsValid() || !to.IsValid()
	case r == nil:
		return false
	}
	return r.filter.wants(to, source, ifindex)
}

// BlockSource keeps out what one source sends to a group that was joined with
// Join, on all its interfaces, and lasts as the wish does: until UnblockSource
// or Leave. Blocking again does nothing, and a source that is joined by itself with
// JoinSource goes on being heard.
//
// The kernel is told, so that routers and switches learn of it where they listen
// (IGMPv3, MLDv2: EXCLUDE mode), as far as its limit goes (on Linux
// net.ipv4.igmp_max_msf, 10 sources); beyond it, and where a system has no such
// call, the toolkit drops the datagrams itself and counts them in [Drops].Stranger.
//
// Errors: EADDRNOTAVAIL if the group was not joined, or with JoinSource only. Where the
// toolkit is not told what a datagram was sent to ([Info].PacketInfo), what the kernel
// answers: [errors.ErrUnsupported] where it can't do it either (Windows).
func (m *MulticastConn) BlockSource(group, source netip.Addr) error {
	return m.opErrorGroup("block", group, m.blockSource(group, source, true))
}

// UnblockSource undoes BlockSource. What is not blocked is EADDRNOTAVAIL.
func (m *MulticastConn) UnblockSource(group, source netip.Addr) error {
	return m.opErrorGroup("unblock", group, m.blockSource(group, source, false))
}

func (m *MulticastConn) blockSource(group, source netip.Addr, on bool) error {
	if !source.IsValid() {
		return &net.AddrError{Err: "missing source address"}
	}
	key, err := m.key(group, source)
	if err != nil {
		return err
	}
	return m.groups.setBlocked(key, on)
}

func (r *registry) setBlocked(key membershipKey, on bool) error {
	_, done, err := r.begin()
	if err != nil {
		return err
	}
	defer done()
	w := r.find(membershipKey{group: key.group})
	if w == nil {
		return errNotJoined
	}
	before := make([]sourceFilter, len(w.on))
	for i, h := range w.on {
		before[i] = r.filterOn(h.index, w, h.joined)
	}
	at := slices.Index(w.blocked, key.source)
	switch {
	case on && at >= 0:
		return nil
	case on:
		w.blocked = append(w.blocked, key.source)
	case at < 0:
		return fmt.Errorf("not blocked: %w", sys.EADDRNOTAVAIL)
	default:
		w.blocked = slices.Delete(w.blocked, at, at+1)
	}
	inKernel := on && !r.conn.sock.Info().PacketInfo
	if inKernel {
		if err := r.blockInKernel(w, key.source); err != nil {
			w.blocked = w.blocked[:len(w.blocked)-1]
			return err
		}
	}
	r.filter.update(key.group, r.byGroup[key.group])
	if inKernel {
		return nil
	}
	for i, h := range w.on {
		if h.joined {
			_ = r.change(w.group, h.index, before[i], r.filterOn(h.index, w, true))
		}
	}
	return nil
}

// blockInKernel blocks a source everywhere or not at all, where the reader can't keep
// it out, not knowing what it was sent to.
func (r *registry) blockInKernel(w *wish, source netip.Addr) error {
	var done []int
	anywhere := false
	for _, h := range w.on {
		if !h.joined {
			continue
		}
		anywhere = true
		if !slices.Contains(r.filterOn(h.index, w, true).sources, source) {
			continue // it is joined by itself
		}
		if err := r.block(w.group, source, h.index, true); err != nil {
			for _, index := range done {
				_ = r.block(w.group, source, index, false)
			}
			return err
		}
		done = append(done, h.index)
	}
	if anywhere {
		return nil
	}
	// Nothing is joined at the moment, so that this fails; but it tells whether there is
	// such a call.
	if err := r.block(w.group, source, 0, true); errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// block tells the kernel. When it can't do it, the groupFilter does.
func (r *registry) block(group, source netip.Addr, index int, on bool) error {
	if s, ok := r.conn.sock.(interface {
		Block(group, source netip.Addr, ifindex int, on bool) error
	}); ok {
		return s.Block(group, source, index, on)
	}
	return errors.ErrUnsupported
}
