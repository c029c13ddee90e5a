package udp

import (
	"errors"
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
	Group  netip.Addr
	Source netip.Addr // valid for a source-specific one
	All    bool       // wished on every interface, not on named ones
	On     []InterfaceMembership
}

// Held says whether the membership holds on any interface.
func (m Membership) Held() bool {
	return slices.ContainsFunc(m.On, func(i InterfaceMembership) bool { return i.Err == nil })
}

// An InterfaceMembership is a [Membership] on one interface.
type InterfaceMembership struct {
	Name  string
	Index int   // 0 while there is no interface of that name
	Err   error // why it does not hold; nil: it holds
}

// registry keeps what one socket wishes to be a member of, and what holds.
type registry struct {
	conn *Conn

	mu     sync.Mutex
	wishes []*wish
	out    int // index of SetInterface
}

type membershipKey struct{ group, source netip.Addr }

type wish struct {
	membershipKey
	all   bool
	named []string // interfaces, when not all
	on    []InterfaceMembership
}

var errGone = errors.New("udp: no such interface")

func newRegistry(c *Conn) *registry { return &registry{conn: c} }

func (r *registry) stop() {}

// join adds to the wish and carries out what is new.
func (r *registry) join(key membershipKey, zone string, ifs []*net.Interface) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, err := r.conn.source.Interfaces()
	if err != nil {
		return err
	}
	w, fresh := r.find(key), false
	if w == nil {
		w, fresh = &wish{membershipKey: key}, true
	}
	named, err := names(known, zone, ifs)
	if err != nil {
		return err
	}
	if len(named) == 0 {
		w.all = true
	}
	for _, name := range named {
		if !slices.Contains(w.named, name) {
			w.named = append(w.named, name)
		}
	}
	r.fulfil(w, known)
	if !w.held() {
		return w.failure() // the wish is forgotten if it is a fresh one
	}
	if fresh {
		r.wishes = append(r.wishes, w)
	}
	return nil
}

// leave takes interfaces, or all, off the wish.
func (r *registry) leave(key membershipKey, zone string, ifs []*net.Interface) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.find(key)
	if w == nil {
		return os.NewSyscallError("setsockopt", sys.EADDRNOTAVAIL)
	}
	known, err := r.conn.source.Interfaces()
	if err != nil {
		return err
	}
	named, err := names(known, zone, ifs)
	if err != nil {
		return err
	}
	var errs []error
	left := 0
	w.on = slices.DeleteFunc(w.on, func(i InterfaceMembership) bool {
		if len(named) > 0 && !slices.Contains(named, i.Name) {
			return false
		}
		left++
		if i.Err == nil {
			if err := r.conn.sock.Leave(key.group, key.source, i.Index); err != nil {
				errs = append(errs, err)
			}
		}
		return true
	})
	if left == 0 {
		return os.NewSyscallError("setsockopt", sys.EADDRNOTAVAIL)
	}
	w.named = slices.DeleteFunc(w.named, func(n string) bool { return slices.Contains(named, n) })
	if len(named) == 0 || len(w.on) == 0 {
		r.wishes = slices.DeleteFunc(r.wishes, func(x *wish) bool { return x == w })
	} else if w.all { // on every one but those
		w.all = false
		for _, i := range w.on {
			w.named = append(w.named, i.Name)
		}
	}
	return errors.Join(errs...)
}

// fulfil brings what holds in line with the wish, given the interfaces there are.
func (r *registry) fulfil(w *wish, known []socket.Interface) {
	for _, ifi := range r.targets(w, known) {
		if i := slices.IndexFunc(w.on, func(m InterfaceMembership) bool { return m.Index == ifi.Index }); i >= 0 && w.on[i].Err == nil {
			continue
		} else if i >= 0 {
			w.on = slices.Delete(w.on, i, i+1)
		}
		err := r.conn.sock.Join(w.group, w.source, ifi.Index)
		w.on = append(w.on, InterfaceMembership{Name: ifi.Name, Index: ifi.Index, Err: err})
	}
}

// targets are the interfaces that a wish is about.
func (r *registry) targets(w *wish, known []socket.Interface) (ts []socket.Interface) {
	for _, ifi := range known {
		if slices.Contains(w.named, ifi.Name) || w.all && multicasts(ifi, w.group) && ifi.Flags&net.FlagLoopback == 0 {
			ts = append(ts, ifi)
		}
	}
	if len(ts) == 0 && w.all {
		for _, ifi := range known {
			if ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagLoopback != 0 {
				ts = append(ts, ifi)
			}
		}
	}
	return ts
}

// multicasts says whether a group can be joined on an interface.
func multicasts(ifi socket.Interface, group netip.Addr) bool {
	if ifi.Flags&net.FlagUp == 0 || ifi.Flags&net.FlagMulticast == 0 {
		return false
	}
	return slices.ContainsFunc(ifi.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == group.Is4() })
}

// names are the interfaces that a caller has named, in ifs or as a zone.
func names(known []socket.Interface, zone string, ifs []*net.Interface) (ns []string, err error) {
	for _, ifi := range ifs {
		if ifi == nil {
			return nil, &net.AddrError{Err: "nil interface"}
		}
		name := ifi.Name
		for _, k := range known {
			if k.Index == ifi.Index {
				name = k.Name
			}
		}
		if name == "" {
			return nil, &net.AddrError{Err: "no such interface", Addr: strconv.Itoa(ifi.Index)}
		}
		ns = append(ns, name)
	}
	if zone != "" && len(ifs) == 0 {
		for _, k := range known {
			if k.Name == zone || strconv.Itoa(k.Index) == zone {
				return append(ns, k.Name), nil
			}
		}
		return nil, &net.AddrError{Err: "no such interface", Addr: zone}
	}
	return ns, nil
}

// wants says whether a datagram is one that was wished for. It is for systems
// whose kernel does not say it.
func (r *registry) wants(group, source netip.Addr, ifindex int) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wishes {
		if w.group != group || w.source.IsValid() && w.source != source.WithZone("") {
			continue
		}
		if ifindex == 0 || slices.ContainsFunc(w.on, func(i InterfaceMembership) bool {
			return i.Index == ifindex && i.Err == nil
		}) {
			return true
		}
	}
	return false
}

func (r *registry) find(key membershipKey) *wish {
	for _, w := range r.wishes {
		if w.membershipKey == key {
			return w
		}
	}
	return nil
}

func (r *registry) list() []Membership {
	r.mu.Lock()
	defer r.mu.Unlock()
	ms := make([]Membership, len(r.wishes))
	for i, w := range r.wishes {
		ms[i] = Membership{Group: w.group, Source: w.source, All: w.all, On: slices.Clone(w.on)}
	}
	return ms
}

func (r *registry) setOut(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = index
}

func (r *registry) outIndex() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out
}

func (w *wish) held() bool {
	return slices.ContainsFunc(w.on, func(i InterfaceMembership) bool { return i.Err == nil })
}

// failure joins the errors of all interfaces.
func (w *wish) failure() error {
	if len(w.on) == 0 {
		return errGone
	}
	errs := make([]error, len(w.on))
	for i, m := range w.on {
		errs[i] = m.Err
	}
	return errors.Join(errs...)
}
