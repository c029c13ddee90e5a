// Package ifmon watches the network interfaces. Three kinds of sockets need that: those that
// join multicast groups, because memberships follow the interfaces; connected ones, because
// their source address may be removed; and those that wait for the network before they open.
package ifmon

import (
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Follower has the memberships of one socket. The Monitor is locked while it calls the
// methods.
type Follower interface {
	// LeaveStale drops memberships on interfaces that were removed or replaced, and reports
	// whether there were any. With renew it also drops those on an interface that has got its
	// carrier back.
	LeaveStale(now []socket.Interface, renew bool) bool
	// Reconcile joins and leaves as the interfaces require. It returns false if a join failed:
	// the Monitor then tries again later.
	Reconcile(now []socket.Interface) bool
}

// A Monitor watches the interfaces for all Followers that see the same ones: on Linux those
// of one network namespace, elsewhere those of the host, in tests those of one simulated
// host. It lives from its first Follower to its last.
type Monitor struct {
	id    any // key in monitors; nil: this Monitor is not shared
	view  view
	stop  func()        // stops the notifications
	news  chan struct{} // holds a value after a change
	retry chan struct{} // holds a value after a join was refused
	quit  chan struct{} // closed by the last Follower
	done  chan struct{} // closed when run has returned

	changing sync.Mutex // see Lock
	ended    bool       // guarded by changing: view is closed
	last     []identity // guarded by changing: the interfaces seen last

	mu        sync.Mutex
	followers map[Follower]struct{}
}

// A view is the part of a Network that a Monitor uses.
type view interface {
	Interfaces() ([]socket.Interface, error)
	Watch(changed func()) (stop func(), err error)
}

// identity changes when an interface loses its memberships.
type identity struct {
	index               int
	generation, emptied uint64
}

func identityOf(i *socket.Interface) identity {
	return identity{i.Index, i.Generation, i.Emptied}
}

// monitors has the Monitors that can be shared. It is global because all sockets must drop
// stale memberships before any of them joins: see Monitor.prepare.
var monitors struct {
	sync.Mutex
	byID map[any]*Monitor
}

// Creating an interface, naming it, adding its addresses and bringing it up causes a dozen
// notifications. They are handled together, as soon as none has arrived for the time quiet, and
// after maxDelay at the latest. Both are well below one second, within which datagrams to a
// group should arrive again.
const (
	quiet      = 30 * time.Millisecond
	maxDelay   = 300 * time.Millisecond
	retryAfter = 10 * time.Second // after a join was refused
	listAgain  = maxDelay         // after listing the interfaces failed; doubled up to retryAfter
)

// Join adds f to the Monitor of its interfaces, and starts one if there is none. On Linux it
// must run on the thread that opens the socket, because a network namespace belongs to a thread.
func Join(source socket.Network, f Follower) (*Monitor, error) {
	id, v, release := any(source), view(source), func() {}
	if _, ok := source.(sys.Kernel); ok {
		ns, err := sys.Here()
		if err != nil {
			return nil, err
		}
		v, release, id = ns, ns.Close, nil
		if ns.ID() != 0 {
			id = ns.ID()
		}
	}
	if !reflect.ValueOf(id).Comparable() {
		id = nil
	}
	monitors.Lock()
	defer monitors.Unlock()
	if m := monitors.byID[id]; m != nil {
		release()
		m.add(f)
		return m, nil
	}
	m := &Monitor{
		id: id, view: v, followers: map[Follower]struct{}{f: {}},
		news: make(chan struct{}, 1), retry: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	stop, err := v.Watch(m.changed)
	if err != nil {
		release()
		return nil, err
	}
	m.stop = func() { stop(); release() }
	if id != nil {
		if monitors.byID == nil {
			monitors.byID = map[any]*Monitor{}
		}
		monitors.byID[id] = m
	}
	go m.run()
	return m, nil
}

func (m *Monitor) add(f Follower) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.followers[f] = struct{}{}
}

// Leave removes f. The last Follower waits until the Monitor has ended.
func (m *Monitor) Leave(f Follower) {
	monitors.Lock()
	m.mu.Lock()
	_, member := m.followers[f]
	delete(m.followers, f)
	last := member && len(m.followers) == 0
	m.mu.Unlock()
	if last && m.id != nil {
		delete(monitors.byID, m.id)
	}
	monitors.Unlock()
	if last {
		close(m.quit)
		<-m.done
	}
}

// Lock excludes other changes of memberships, by any Follower or by the Monitor, until Unlock.
func (m *Monitor) Lock()   { m.changing.Lock() }
func (m *Monitor) Unlock() { m.changing.Unlock() }

// Prepare makes every Follower drop its stale memberships and then returns the interfaces, for
// a Follower that is about to change its memberships. m must be locked. Followers that dropped
// any are reconciled later.
func (m *Monitor) Prepare() ([]socket.Interface, error) { return m.prepare(false) }

// List returns the interfaces. A Follower may call it until it calls Leave.
func (m *Monitor) List() ([]socket.Interface, error) { return m.view.Interfaces() }

// Retry makes the Monitor reconcile after retryAfter, or earlier if that is already planned.
func (m *Monitor) Retry() { signal(m.retry) }

// changed reports a change of the interfaces. It does not block.
func (m *Monitor) changed() { signal(m.news) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (m *Monitor) run() {
	defer close(m.done)
	defer func() {
		m.changing.Lock()
		defer m.changing.Unlock()
		m.ended = true
		m.stop()
	}()
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	timer.Stop()
	waiting, failures := false, 0
	for {
		select {
		case <-m.quit:
			return
		case <-m.retry:
			if !waiting {
				waiting = true
				timer.Reset(retryAfter)
			}
			continue
		case <-timer.C:
		case <-m.news:
			if !m.awaitQuiet() {
				return
			}
		}
		switch complete, err := m.reconcile(); {
		case err != nil:
			waiting = true
			timer.Reset(min(listAgain<<min(failures, 10), retryAfter))
			failures++
		case complete:
			waiting, failures = false, 0
			timer.Stop()
		default:
			waiting, failures = true, 0
			timer.Reset(retryAfter)
		}
	}
}

// awaitQuiet waits for the end of a burst of changes. It returns false when the Monitor ends.
func (m *Monitor) awaitQuiet() bool {
	latest := time.NewTimer(maxDelay)
	defer latest.Stop()
	calm := time.NewTimer(quiet)
	defer calm.Stop()
	for {
		select {
		case <-m.quit:
			return false
		case <-m.news:
			calm.Reset(quiet)
		case <-calm.C:
			return true
		case <-latest.C:
			return true
		}
	}
}

// reconcile reconciles every Follower with the interfaces there are now.
func (m *Monitor) reconcile() (complete bool, err error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	now, err := m.prepare(true)
	if err != nil {
		return false, err
	}
	complete = true
	for _, f := range m.all() {
		complete = f.Reconcile(now) && complete
	}
	return complete, nil
}

// prepare makes every Follower drop stale memberships before any of them joins. Linux
// applies a leave on a deleted interface to whichever interface has got its index: it would
// undo the join of another socket. Stale memberships also count against the socket's limits.
func (m *Monitor) prepare(renew bool) ([]socket.Interface, error) {
	if m.ended {
		return nil, net.ErrClosed
	}
	now, err := m.view.Interfaces()
	if err != nil {
		return nil, err
	}
	same := slices.EqualFunc(m.last, now, func(id identity, i socket.Interface) bool { return id == identityOf(&i) })
	if same && !renew {
		return now, nil
	}
	m.last = m.last[:0]
	for i := range now {
		m.last = append(m.last, identityOf(&now[i]))
	}
	stale := false
	for _, f := range m.all() {
		stale = f.LeaveStale(now, renew) || stale
	}
	if stale && !renew {
		m.changed()
	}
	return now, nil
}

func (m *Monitor) all() []Follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.followers))
}
