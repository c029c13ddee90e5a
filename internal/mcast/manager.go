// Package mcast keeps the multicast memberships of one socket in the desired state while
// interfaces appear, change and disappear.
//
// Join adds a desired membership. The Manager reconciles the actual memberships with the
// desired ones and the interfaces: after each call of its user, and after each change of the
// interfaces, which package ifmon reports.
//
// # Locking
//
// The order is: the lock of the ifmon.Monitor, Manager.mu, and then whatever the socket and
// Config.Changed lock. Methods that change memberships hold the first two. The Monitor also
// locks one Manager after another to drop stale memberships. Config.Filter is called with
// both held, so it must not call the Manager. Config.Changed is called with both held too;
// Changes holds neither while its caller's loop body runs. The reader calls Wants, and
// senders call Stranded, without any lock.
package mcast

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/ifmon"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Socket has the methods of socket.Socket that a Manager needs.
type Socket interface {
	Join(group, source netip.Addr, ifindex int) error
	Leave(group, source netip.Addr, ifindex int) error
	Block(group, source netip.Addr, ifindex int, on bool) error
	SetMulticast(o socket.MulticastOption, v6 bool, value int) error
	Multicast(o socket.MulticastOption, v6 bool) (int, error)
	Info() socket.Info
}

// Config configures a Manager. Socket must be set.
type Config struct {
	Socket Socket
	// Only is the group that the socket is bound to, if any. No other group can be joined.
	Only netip.Addr
	// Filter selects the interfaces of memberships on all interfaces; nil selects every one.
	// It must be fast, must not call the Manager, and must not panic.
	Filter func(*net.Interface) bool
	// Patient makes Join succeed if there is no suitable interface yet.
	Patient bool
	// Changed is called when Changes has something to return. It must not call the Manager or
	// wait for a goroutine that does. It is nil if Changes is not used.
	Changed func()
}

// A Manager has the desired and the actual memberships of one socket. Its methods may be
// called from any goroutine.
type Manager struct {
	cfg     Config
	monitor *ifmon.Monitor
	filter  groupFilter // read without a lock

	mu      sync.Mutex
	stopped bool
	desired []*desired // in the order of joining
	byGroup map[netip.Addr][]*desired
	joined  uint64     // desired memberships added so far
	refused int        // desired memberships that an interface has refused
	changes []*desired // for Changes, each once
	out     outgoing

	outLost atomic.Bool // the outgoing interface was removed, or could not be set again
}

// New returns a Manager that follows the interfaces of source until Stop. On Linux it must
// run on the thread that opened the socket, because a thread has a network namespace.
func New(source socket.Network, cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, byGroup: map[netip.Addr][]*desired{}}
	monitor, err := ifmon.Join(source, (*follower)(m))
	if err != nil {
		return nil, err
	}
	// Until a Join, which comes later, the Monitor does not make the follower use it.
	m.monitor = monitor
	return m, nil
}

// follower has the methods that only the Monitor calls.
type follower Manager

// Stop ends the Manager. Nothing is joined after it.
func (m *Manager) Stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.monitor.Leave((*follower)(m))
}

var errNotJoined = fmt.Errorf("not joined: %w", sys.EADDRNOTAVAIL)

// Join adds to the desired memberships: on the named interfaces, on the one that the zone of
// group names, or else on all. If none of them can be joined it fails and changes nothing. A
// valid source makes the membership source-specific.
func (m *Manager) Join(group, source netip.Addr, ifs []*net.Interface) error {
	k, zone := keyOf(group, source), group.Zone()
	if m.cfg.Only.IsValid() && k.group != m.cfg.Only {
		return fmt.Errorf("the socket is bound to %v: %w", m.cfg.Only, sys.EINVAL)
	}
	now, unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	refs, err := refer(now.ifs, zone, ifs)
	if err != nil {
		return err
	}
	d := m.find(k)
	fresh := d == nil
	if fresh {
		d = &desired{key: k}
		m.add(d)
	} else if m.reconcile(d, now) {
		m.changed(d) // the interfaces changed before, and the Monitor has not noticed yet
	}
	before := *d
	d.follow(now.ifs)
	d.add(refs)
	m.reconcile(d, now)
	if err := d.failure(refs); err != nil && !(m.cfg.Patient && !slices.ContainsFunc(d.on, actual.refused)) {
		d.all, d.except, d.named = before.all, before.except, before.named
		if fresh {
			m.remove(d)
		} else {
			m.reconcile(d, now)
		}
		return err
	}
	if slices.ContainsFunc(d.on, func(a actual) bool { return a.err != nil }) {
		m.changed(d)
	}
	return nil
}

// Leave removes interfaces from a desired membership, or the whole membership if none is
// given.
func (m *Manager) Leave(group, source netip.Addr, ifs []*net.Interface) error {
	k, zone := keyOf(group, source), group.Zone()
	now, unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	d := m.find(k)
	if d == nil {
		return errNotJoined
	}
	refs, err := refer(now.ifs, zone, ifs)
	if err != nil {
		return err
	}
	d.follow(now.ifs)
	if len(refs) > 0 && !slices.ContainsFunc(refs, d.includes) {
		return errNotJoined
	}
	var errs []error
	d.on = slices.DeleteFunc(d.on, func(a actual) bool {
		if len(refs) > 0 && !slices.ContainsFunc(refs, a.matches) {
			return false
		}
		if a.joined {
			errs = append(errs, m.leaveOn(d, a.index))
		}
		return true
	})
	m.noteRefused(d, slices.ContainsFunc(d.on, actual.refused))
	if d.drop(refs) {
		m.remove(d)
	}
	m.filter.update(k.group, m.byGroup[k.group])
	m.retryRefused(now) // there may be room now
	return errors.Join(errs...)
}

// lock locks the Monitor and the Manager for a change of the memberships, and lists the
// interfaces.
func (m *Manager) lock() (now *snapshot, unlock func(), err error) {
	m.monitor.Lock()
	ifs, err := m.monitor.Prepare() // locks each Manager in turn
	m.mu.Lock()
	if m.stopped {
		err = net.ErrClosed
	}
	if err != nil {
		m.mu.Unlock()
		m.monitor.Unlock()
		return nil, nil, err
	}
	return m.snapshot(ifs), func() { m.mu.Unlock(); m.monitor.Unlock() }, nil
}

// list lists the interfaces for calls that do not change memberships. It needs mu.
func (m *Manager) list() (*snapshot, error) {
	if m.stopped {
		return nil, net.ErrClosed
	}
	ifs, err := m.monitor.List()
	if err != nil {
		return nil, err
	}
	return m.snapshot(ifs), nil
}

func (m *Manager) find(k key) *desired {
	for _, d := range m.byGroup[k.group] {
		if d.key == k {
			return d
		}
	}
	return nil
}

func (m *Manager) add(d *desired) {
	m.joined++
	d.number = m.joined
	m.desired = append(m.desired, d)
	m.byGroup[d.group] = append(m.byGroup[d.group], d)
}

func (m *Manager) remove(d *desired) {
	same := func(other *desired) bool { return other == d }
	if at, ok := slices.BinarySearchFunc(m.desired, d.number, func(d *desired, n uint64) int { return cmp.Compare(d.number, n) }); ok {
		m.desired = slices.Delete(m.desired, at, at+1)
	}
	if m.byGroup[d.group] = slices.DeleteFunc(m.byGroup[d.group], same); len(m.byGroup[d.group]) == 0 {
		delete(m.byGroup, d.group)
	}
	m.noteRefused(d, false)
	if d.changed {
		m.changes = slices.DeleteFunc(m.changes, same)
	}
	d.removed = true
}

// changed adds d to changes, unless it is there already: so a slow reader costs no memory.
func (m *Manager) changed(d *desired) {
	if m.cfg.Changed == nil || d.changed {
		return
	}
	d.changed = true
	m.changes = append(m.changes, d)
	if len(m.changes) == 1 {
		m.cfg.Changed()
	}
}

// Changes returns each membership that has changed since the last call, in its current state.
// It does not return memberships that have been left.
func (m *Manager) Changes() iter.Seq[Membership] {
	return func(yield func(Membership) bool) {
		m.mu.Lock()
		changes := m.changes
		m.changes = nil
		m.mu.Unlock()
		for _, d := range changes {
			m.mu.Lock()
			d.changed = false
			removed, s := d.removed, d.membership()
			m.mu.Unlock()
			if !removed && !yield(s) {
				return
			}
		}
	}
}

// Memberships returns the desired memberships in the order of joining, with their states.
func (m *Manager) Memberships() []Membership {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Membership, len(m.desired))
	for i, d := range m.desired {
		all[i] = d.membership()
	}
	return all
}
