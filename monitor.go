package udp

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A monitor watches the interfaces for all the registries of one view of them:
// of one network namespace on Linux, of the whole host elsewhere, of one
// simulated network in tests. It lives from the first of them to the last.
type monitor struct {
	id   any // of the view; nil: it is not shared
	view view
	stop func()        // ends the news
	news chan struct{} // holds one when something has changed
	late chan struct{} // holds one when something was refused
	quit chan struct{} // closed by the last registry
	done chan struct{} // closed when the goroutine has ended

	// changing is held while wishes change, or the interfaces, and what is joined by
	// the sockets follows. It comes before the locks of registries. Nothing of the
	// user's runs meanwhile.
	changing sync.Mutex
	last     []ifRef // the interfaces at the last look

	mu    sync.Mutex
	users map[*registry]struct{}
}

// A view is what a monitor needs of a Network.
type view interface {
	Interfaces() ([]socket.Interface, error)
	Watch(changed func()) (stop func(), err error)
}

// monitors are those there are. This is the one thing that sockets share.
var monitors struct {
	sync.Mutex
	byID map[any]*monitor
}

// Changes come in bursts: an interface that is created, named, given its
// addresses and switched on makes a dozen. They are settled together, when there
// was no other for a while, and in any case after a longer while. Both are well
// below the second in which datagrams should arrive again.
const (
	settleAfter = 30 * time.Millisecond
	settleUntil = 300 * time.Millisecond
	retryAfter  = 10 * time.Second // after what an interface refused
	askAgain    = settleUntil      // when the interfaces could not be listed, doubled each time
)

// watchInterfaces adds r to the monitor of its interfaces, which it starts if
// there is none. On Linux it has to run on the thread that makes the socket.
func watchInterfaces(source socket.Network, r *registry) (*monitor, error) {
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
		id = nil // a Network that can't be a key is not shared
	}
	monitors.Lock()
	defer monitors.Unlock()
	if m := monitors.byID[id]; m != nil {
		release()
		m.add(r)
		return m, nil
	}
	m := &monitor{
		id: id, view: v, users: map[*registry]struct{}{r: {}},
		news: make(chan struct{}, 1), late: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	stop, err := v.Watch(m.changed)
	if err != nil {
		release()
		return nil, err
	}
	m.stop = func() { stop(); release() }
	if id != nil {
		if monitors.byID == nil {
			monitors.byID = map[any]*monitor{}
		}
		monitors.byID[id] = m
	}
	go m.run()
	return m, nil
}

func (m *monitor) add(r *registry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users[r] = struct{}{}
}

// leave takes r away. The last one waits until nothing of the monitor is left.
func (m *monitor) leave(r *registry) {
	monitors.Lock()
	m.mu.Lock()
	_, member := m.users[r]
	delete(m.users, r)
	last := member && len(m.users) == 0
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

// changed is told of every change, and never waits.
func (m *monitor) changed() { put(m.news) }

// tryLater makes the monitor settle again in a while, if it isn't about to.
func (m *monitor) tryLater() { put(m.late) }

func put(in chan struct{}) {
	select {
	case in <- struct{}{}:
	default:
	}
}

func (m *monitor) run() {
	defer close(m.done)
	defer func() {
		m.changing.Lock() // nobody looks any more
		defer m.changing.Unlock()
		m.stop()
	}()
	retry := time.NewTimer(retryAfter)
	defer retry.Stop()
	retry.Stop()
	waiting, failures := false, 0
	for {
		select {
		case <-m.quit:
			return
		case <-m.late:
			if !waiting {
				waiting = true
				retry.Reset(retryAfter)
			}
			continue
		case <-retry.C:
		case <-m.news:
			if !m.calm() {
				return
			}
		}
		switch all, err := m.settle(); {
		case err != nil:
			waiting = true
			retry.Reset(min(askAgain<<min(failures, 10), retryAfter))
			failures++
		case all:
			waiting, failures = false, 0
			retry.Stop()
		default:
			waiting, failures = true, 0
			retry.Reset(retryAfter)
		}
	}
}

// calm waits for the end of a burst. It returns false when the monitor ends.
func (m *monitor) calm() bool {
	until := time.NewTimer(settleUntil)
	defer until.Stop()
	quiet := time.NewTimer(settleAfter)
	defer quiet.Stop()
	for {
		select {
		case <-m.quit:
			return false
		case <-m.news:
			quiet.Reset(settleAfter)
		case <-quiet.C:
			return true
		case <-until.C:
			return true
		}
	}
}

// settle brings every registry in line with the interfaces there are. It returns
// false when something was refused.
func (m *monitor) settle() (all bool, err error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	known, err := m.look(true)
	if err != nil {
		return false, err
	}
	all = true
	for _, r := range m.registries() {
		all = r.settle(known) && all
	}
	return all, nil
}

// look lists the interfaces, after every registry has let go of those that are not
// there any more; it needs changing. What was let go the monitor settles later.
func (m *monitor) look(renew bool) ([]socket.Interface, error) {
	known, err := m.view.Interfaces()
	if err != nil {
		return nil, err
	}
	same := slices.EqualFunc(m.last, known, func(ref ifRef, k socket.Interface) bool { return ref.same(refOf(&k)) })
	if same && !renew {
		return known, nil
	}
	m.last = m.last[:0]
	for i := range known {
		m.last = append(m.last, refOf(&known[i]))
	}
	gone := false
	for _, r := range m.registries() {
		gone = r.letGo(known, renew) || gone
	}
	if gone && !renew {
		m.changed()
	}
	return known, nil
}

func (m *monitor) registries() []*registry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.users))
}
