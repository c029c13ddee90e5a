package udp

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Membership is a wish to receive what is sent to a group, and what has
// become of it.
type Membership struct {
	Group   netip.Addr
	Source  netip.Addr   // valid for a source-specific one
	All     bool         // wished on every interface, not on named ones
	Blocked []netip.Addr // sources that are not wanted, see [MulticastConn.BlockSource]
	On      []InterfaceMembership
}

// Held says whether the membership holds on any interface.
func (m Membership) Held() bool {
	return slices.ContainsFunc(m.On, func(i InterfaceMembership) bool { return i.Err == nil })
}

// An InterfaceMembership is a [Membership] on one interface.
type InterfaceMembership struct {
	Name  string
	Index int // 0 while there is no interface of that name
	// Err is why it does not hold, nil when it does: ENODEV while a named interface
	// is gone, ENETDOWN while it is down, else what the system answered.
	Err error
}

// registry keeps what one socket wishes to be a member of, and what holds.
type registry struct {
	conn    *Conn
	only    netip.Addr // the group that the socket is bound to, if it is
	monitor *monitor
	filter  groupFilter // what the reader asks

	mu      sync.Mutex
	stopped bool
	wishes  []*wish // in the order of joining
	joined  uint64  // wishes so far
	refused int     // wishes that an interface has refused
	byGroup map[netip.Addr][]*wish
	out     outgoing
}

type membershipKey struct{ group, source netip.Addr }

// wish is a membership that was asked for. All and named exclude each other.
type wish struct {
	membershipKey
	number  uint64 // in the order of joining
	all     bool
	except  []string // names of interfaces left, when all
	named   []ifRef  // when not all
	blocked []netip.Addr
	on      []hold
	refused bool // by an interface at least
}

// ifRef names an interface. It is the one of the index and generation for as
// long as that exists, also under another name; then any of that name.
type ifRef struct {
	name       string
	index      int
	generation uint64
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

// newRegistry also finds the monitor of the interfaces. On Linux it has to run
// on the thread that opens the socket: it decides about the network namespace.
func newRegistry(source socket.Network) (*registry, error) {
	r := &registry{byGroup: map[netip.Addr][]*wish{}}
	var err error
	r.monitor, err = watchInterfaces(source, r)
	return r, err
}

// stop ends the reconciling; nothing is joined any more after it.
func (r *registry) stop() {
	r.monitor.changing.Lock()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.monitor.changing.Unlock()
	r.monitor.leave(r)
}

// join adds to a wish and carries it out.
func (r *registry) join(key membershipKey, zone string, ifs []*net.Interface) error {
	known, done, err := r.begin()
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
	}
	before := *w
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
		return os.NewSyscallError("setsockopt", sys.EADDRNOTAVAIL)
	}
	refs, err := refer(known, zone, ifs)
	if err != nil {
		return err
	}
	var errs []error
	left := 0
	w.on = slices.DeleteFunc(w.on, func(h hold) bool {
		if len(refs) > 0 && !slices.ContainsFunc(refs, h.is) {
			return false
		}
		left++
		if h.joined {
			errs = append(errs, r.leaveOn(w, h.index))
		}
		return true
	})
	if left == 0 {
		return os.NewSyscallError("setsockopt", sys.EADDRNOTAVAIL)
	}
	r.noteRefused(w, slices.ContainsFunc(w.on, hold.refused))
	w.forget(refs)
	if len(refs) == 0 || len(w.on) == 0 {
		r.remove(w)
	}
	r.filter.update(key.group, r.byGroup[key.group])
	r.retryRefused(newCensus(known)) // there is room for others now
	return errors.Join(errs...)
}

// begin is for changes of the wishes, of which there is one at a time. It lists the
// interfaces, after every registry has let go of those that are not there any more.
func (r *registry) begin() (known []socket.Interface, done func(), err error) {
	m := r.monitor
	m.changing.Lock()
	if r.stopped { // only changed with that lock
		err = net.ErrClosed
	} else {
		known, err = m.look(false)
	}
	if err != nil {
		m.changing.Unlock()
		return nil, nil, err
	}
	r.mu.Lock()
	return known, func() { r.mu.Unlock(); m.changing.Unlock() }, nil
}

// look lists the interfaces, for what changes no wish.
func (r *registry) look() ([]socket.Interface, error) {
	if r.stopped {
		return nil, net.ErrClosed
	}
	return r.monitor.view.Interfaces()
}

// refer finds the interfaces that a caller has named, in ifs or as a zone.
func refer(known []socket.Interface, zone string, ifs []*net.Interface) (refs []ifRef, err error) {
	for _, ifi := range ifs {
		if ifi == nil {
			return nil, &net.AddrError{Err: "nil interface"}
		}
		ref := ifRef{name: ifi.Name}
		if k := find(known, func(k *socket.Interface) bool { return k.Index == ifi.Index || ifi.Index == 0 && k.Name == ifi.Name }); k != nil {
			ref = refOf(k)
		}
		if ref.name == "" {
			return nil, &net.AddrError{Err: "no such interface", Addr: strconv.Itoa(ifi.Index)}
		}
		refs = append(refs, ref)
	}
	if zone != "" && len(ifs) == 0 {
		k := find(known, func(k *socket.Interface) bool { return k.Name == zone || strconv.Itoa(k.Index) == zone })
		if k == nil {
			return nil, &net.AddrError{Err: "no such interface", Addr: zone}
		}
		refs = append(refs, refOf(k))
	}
	return refs, nil
}

func find(known []socket.Interface, is func(*socket.Interface) bool) *socket.Interface {
	for i := range known {
		if is(&known[i]) {
			return &known[i]
		}
	}
	return nil
}

func refOf(k *socket.Interface) ifRef {
	return ifRef{name: k.Name, index: k.Index, generation: k.Generation}
}

// is says whether two references mean one interface.
func (i ifRef) is(other ifRef) bool {
	if i.index != 0 && other.index != 0 {
		return i.index == other.index
	}
	return i.name == other.name
}

// add wishes for the interfaces too, or for all when there are none.
func (w *wish) add(refs []ifRef) {
	if len(refs) == 0 {
		w.all, w.except, w.named = true, nil, nil
		return
	}
	w.except, w.named = slices.Clone(w.except), slices.Clone(w.named)
	for _, ref := range refs {
		w.except = slices.DeleteFunc(w.except, func(name string) bool { return name == ref.name })
		if !w.all && !slices.ContainsFunc(w.named, ref.is) {
			w.named = append(w.named, ref)
		}
	}
}

// forget is the opposite of add.
func (w *wish) forget(refs []ifRef) {
	for _, ref := range refs {
		w.named = slices.DeleteFunc(w.named, ref.is)
		if w.all && !slices.Contains(w.except, ref.name) {
			w.except = append(w.except, ref.name)
		}
	}
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
)

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

func (w *wish) membership() Membership {
	m := Membership{
		Group: w.group, Source: w.source, All: w.all, Blocked: slices.Clone(w.blocked),
		On: make([]InterfaceMembership, len(w.on)),
	}
	for i, h := range w.on {
		m.On[i] = InterfaceMembership{Name: h.name, Index: h.index, Err: h.err}
	}
	return m
}
