package udp

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/udpkit/udp/internal/socket"
)

// verdicts is what the user's filter has said of the interfaces. It is asked about
// each once, and again when something of that is another, and never while a lock is
// held that anything else needs: it may be slow, or want a lock of the user's.
type verdicts struct {
	asking  sync.Mutex     // held while the filter runs; it comes before those of registries and monitors
	late    bool           // it runs for the monitor
	running sync.WaitGroup // the goroutine that it does so in
	on      map[ifKey]verdict
}

type verdict struct {
	about *socket.Interface
	yes   bool
}

// still says whether an interface is as it was.
func (v verdict) still(k *socket.Interface) bool {
	a := v.about
	return a != nil && a.Name == k.Name && a.MTU == k.MTU && a.Flags == k.Flags &&
		bytes.Equal(a.HardwareAddr, k.HardwareAddr) && slices.Equal(a.Addrs, k.Addrs)
}

// unjudged are the interfaces that the filter is still to be asked about.
func (r *registry) unjudged(known []socket.Interface) (ks []*socket.Interface) {
	if r.conn.cfg.InterfaceFilter == nil {
		return nil
	}
	for i := range known {
		k := &known[i]
		if k.Flags&net.FlagUp != 0 && k.Flags&(net.FlagMulticast|net.FlagLoopback) != 0 && !r.verdicts.on[keyOf(k)].still(k) {
			ks = append(ks, k)
		}
	}
	if len(r.verdicts.on) > len(known) {
		maps.DeleteFunc(r.verdicts.on, func(key ifKey, _ verdict) bool {
			return find(known, func(k *socket.Interface) bool { return keyOf(k) == key }) == nil
		})
	}
	return ks
}

// ask asks the filter. It must be called without a lock.
func (r *registry) ask(ks []*socket.Interface) {
	v := &r.verdicts
	v.asking.Lock()
	defer v.asking.Unlock()
	for _, k := range ks {
		r.mu.Lock()
		needed := !r.stopped && !v.on[keyOf(k)].still(k) // else another one has asked meanwhile
		r.mu.Unlock()
		if !needed {
			continue
		}
		yes, ifi := false, k.Interface
		r.conn.guard("InterfaceFilter", func() { yes = r.conn.cfg.InterfaceFilter(&ifi) })
		r.mu.Lock()
		if v.on == nil {
			v.on = map[ifKey]verdict{}
		}
		v.on[keyOf(k)] = verdict{k, yes}
		r.mu.Unlock()
	}
}

// askUnlocked is ask for who holds mu.
func (r *registry) askUnlocked(ks []*socket.Interface) {
	r.mu.Unlock()
	defer r.mu.Lock()
	r.ask(ks)
}

// askLater is ask for the monitor, which has others to serve, and settles again when
// that is done.
func (r *registry) askLater(ks []*socket.Interface) {
	if r.verdicts.late {
		return
	}
	r.verdicts.late = true
	r.verdicts.running.Go(func() {
		defer r.monitor.changed()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.verdicts.late = false
		}()
		r.ask(ks)
	})
}

// admits says what the filter has said. Of an interface that has changed since, what
// it said before counts for as long as it has not been asked again.
func (r *registry) admits(k *socket.Interface) bool {
	return r.conn.cfg.InterfaceFilter == nil || r.verdicts.on[keyOf(k)].yes
}
