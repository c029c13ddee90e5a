package udp

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Membership is a wish to receive what is sent to a group, and what has
// become of it.
type Membership struct {
	Group   netip.Addr            // without a zone
	Source  netip.Addr            // valid for a source-specific one
	All     bool                  // wished on every interface, but for those left by name
	Blocked []netip.Addr          // sources that are not wanted, see [MulticastConn.BlockSource]
	On      []InterfaceMembership // each interface that it is about, there or not
}

// Held says whether the membership holds on any interface.
func (m Membership) Held() bool {
	return slices.ContainsFunc(m.On, func(i InterfaceMembership) bool { return i.Err == nil })
}

// An InterfaceMembership is a [Membership] on one interface.
type InterfaceMembership struct {
	Name  string // what it is called now, or was when it went
	Index int    // 0 while there is no interface of that name
	// Err is why it does not hold, nil when it does: ENODEV while a named interface
	// is gone, ENETDOWN while it is down or its MTU too short for the protocol, else
	// what the system answered.
	Err error
}

// registry keeps what one socket wishes to be a member of, and what holds.
type registry struct {
	conn    *Conn
	only    netip.Addr // the group that the socket is bound to, if it is
	monitor *monitor
	filter  groupFilter // what the reader asks

	mu       sync.Mutex
	stopped  bool
	wishes   []*wish // in the order of joining
	joined   uint64  // wishes so far
	refused  int     // wishes that an interface has refused
	byGroup  map[netip.Addr][]*wish
	out      outgoing
	verdicts verdicts
	outLost  atomic.Bool // the interface of out is gone, or the system has to be told again
}

type membershipKey struct{ group, source netip.Addr }

// newRegistry also finds the monitor of the interfaces. On Linux it has to run
// on the thread that opens the socket: it decides about the network namespace.
func newRegistry(source socket.Network) (*registry, error) {
	r := &registry{byGroup: map[netip.Addr][]*wish{}}
	var err error
	r.monitor, err = watchInterfaces(source, r)
	return r, err
}

// errNotJoined is what leaving and blocking answer to who has not joined.
var errNotJoined = fmt.Errorf("not joined: %w", sys.EADDRNOTAVAIL)

// stop ends the reconciling; nothing is joined any more after it.
func (r *registry) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.monitor.leave(r)
	r.verdicts.running.Wait() // no goroutine outlives its socket
}

// join adds to a wish and carries it out.
func (r *registry) join(key membershipKey, zone string, ifs []*net.Interface) error {
	known, done, err := r.beginJoin(zone == "" && len(ifs) == 0)
	if err != nil {
		return err
	}
	defer done()
	refs, err := refer(known, zone, ifs)
	if err != nil {
		return err
	}
	now := newCensus(known)
	w := r.find(key)
	fresh := w == nil
	if fresh {
		w = &wish{membershipKey: key}
		r.add(w)
	} else if r.fulfil(w, now) {
		r.tell(w) // the news comes too late for that
	}
	before := *w
	w.follow(known)
	w.add(refs)
	r.fulfil(w, now)
	if err := w.failure(refs); err != nil {
		// What was not wished before is not wished now.
		w.all, w.except, w.named = before.all, before.except, before.named
		if fresh {
			r.remove(w)
		} else {
			r.fulfil(w, now)
		}
		return err
	}
	if slices.ContainsFunc(w.on, func(h hold) bool { return h.err != nil }) {
		r.tell(w)
	}
	return nil
}

// leave takes interfaces, or all, off a wish.
func (r *registry) leave(key membershipKey, zone string, ifs []*net.Interface) error {
	known, done, err := r.begin()
	if err != nil {
		return err
	}
	defer done()
	w := r.find(key)
	if w == nil {
		return errNotJoined
	}
	refs, err := refer(known, zone, ifs)
	if err != nil {
		return err
	}
	w.follow(known)
	if len(refs) > 0 && !slices.ContainsFunc(refs, w.reaches) {
		return errNotJoined
	}
	var errs []error
	w.on = slices.DeleteFunc(w.on, func(h hold) bool {
		if len(refs) > 0 && !slices.ContainsFunc(refs, h.is) {
			return false
		}
		if h.joined {
			errs = append(errs, r.leaveOn(w, h.index))
		}
		return true
	})
	r.noteRefused(w, slices.ContainsFunc(w.on, hold.refused))
	if w.forget(refs) {
		r.remove(w)
	}
	r.filter.update(key.group, r.byGroup[key.group])
	r.retryRefused(newCensus(known)) // there is room for others now
	r.moveBack()
	return errors.Join(errs...)
}

// begin is for changes of the wishes, of which there is one at a time. It lists the
// interfaces, after every registry has let go of those that are not there any more.
func (r *registry) begin() (known []socket.Interface, done func(), err error) {
	m := r.monitor
	m.changing.Lock()
	r.mu.Lock()
	done = func() { r.mu.Unlock(); m.changing.Unlock() }
	if !r.stopped {
		r.mu.Unlock() // since to look takes that of every registry
		known, err = m.look(false)
		r.mu.Lock()
	}
	if r.stopped {
		err = net.ErrClosed
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return known, done, nil
}

// beginJoin is begin; for a wish for all interfaces it asks the user's filter about
// those that are new. What changes meanwhile the monitor settles later.
func (r *registry) beginJoin(all bool) (known []socket.Interface, done func(), err error) {
	known, done, err = r.begin()
	if err != nil || !all {
		return known, done, err
	}
	unjudged := r.unjudged(known)
	if len(unjudged) == 0 {
		return known, done, nil
	}
	done()
	r.ask(unjudged)
	return r.begin()
}

// look lists the interfaces, for what changes no wish.
func (r *registry) look() ([]socket.Interface, error) {
	if r.stopped {
		return nil, net.ErrClosed
	}
	return r.monitor.view.Interfaces()
}

func (r *registry) find(key membershipKey) *wish {
	for _, w := range r.byGroup[key.group] {
		if w.membershipKey == key {
			return w
		}
	}
	return nil
}

func (r *registry) add(w *wish) {
	r.joined++
	w.number = r.joined
	r.wishes = append(r.wishes, w)
	r.byGroup[w.group] = append(r.byGroup[w.group], w)
}

func (r *registry) remove(w *wish) {
	if at, ok := slices.BinarySearchFunc(r.wishes, w.number, func(x *wish, n uint64) int { return cmp.Compare(x.number, n) }); ok {
		r.wishes = slices.Delete(r.wishes, at, at+1)
	}
	r.noteRefused(w, false)
	if r.byGroup[w.group] = slices.DeleteFunc(r.byGroup[w.group], func(x *wish) bool { return x == w }); len(r.byGroup[w.group]) == 0 {
		delete(r.byGroup, w.group)
	}
}

func (r *registry) list() []Membership {
	r.mu.Lock()
	defer r.mu.Unlock()
	ms := make([]Membership, len(r.wishes))
	for i, w := range r.wishes {
		ms[i] = w.membership()
	}
	return ms
}
