package udptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/udpkit/udp/internal/socket"
)

// network implements socket.Network for the sockets of a host.
type network struct{ host *Host }

var _ socket.Network = network{}

// LookupIP implements socket.Network. It knows the names of the hosts, those of [Net.AddName],
// and localhost.
func (w network) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := w.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	all, known := n.names[name]
	if name == "localhost" {
		all, known = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, true
	}
	if !known {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var as []netip.Addr
	for _, a := range all {
		if network == "ip" || (network == "ip4") == a.Is4() {
			as = append(as, a)
		}
	}
	if len(as) == 0 {
		return nil, &net.DNSError{Err: "no suitable address", Name: host, IsNotFound: true}
	}
	return as, nil
}

// Interfaces implements socket.Network.
func (w network) Interfaces() ([]socket.Interface, error) {
	n := w.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []socket.Interface
	for _, i := range w.host.ifaces {
		all = append(all, i.info())
	}
	return all, nil
}

// Interfaces implements socket.Socket.
func (s *sock) Interfaces() ([]socket.Interface, error) { return network{s.host}.Interfaces() }

// A watcher is a goroutine that calls a function after changes of the interfaces.
type watcher struct{ wake, quit, done chan struct{} }

// Watch implements socket.Network.
func (w network) Watch(changed func()) (stop func(), err error) {
	h := w.host
	v := &watcher{make(chan struct{}, 1), make(chan struct{}), make(chan struct{})}
	h.net.mu.Lock()
	h.watchers = append(h.watchers, v)
	h.net.mu.Unlock()
	go func() {
		defer close(v.done)
		for {
			select {
			case <-v.wake:
				changed()
			case <-v.quit:
				return
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			h.net.mu.Lock()
			h.watchers = slices.DeleteFunc(h.watchers, func(o *watcher) bool { return o == v })
			h.net.mu.Unlock()
			close(v.quit)
		})
		<-v.done
	}, nil
}

// changed notifies the watchers, and sends that wait, of a change of an interface. The caller
// holds the lock.
func (h *Host) changed() {
	h.addressed()
	h.wakeSenders()
	for _, v := range h.watchers {
		h.net.noticed = h.net.now() + noticeTime
		select {
		case v.wake <- struct{}{}:
		default: // it is woken already
		}
	}
}

// Open implements socket.Network.
func (w network) Open(ctx context.Context, network string, local netip.AddrPort, o socket.Options) (socket.Socket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := supported(o); err != nil {
		return nil, err
	}
	family := socket.Dual
	switch {
	case network == "udp4", local.Addr().Is4() && !local.Addr().IsUnspecified():
		family = socket.IPv4
	case network == "udp6", local.Addr().Is6() && !local.Addr().IsUnspecified():
		family = socket.IPv6
	}
	addr := local.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = netip.IPv6Unspecified()
		if family == socket.IPv4 {
			addr = netip.IPv4Unspecified()
		}
	}
	h := w.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.down {
		return nil, sysErr("socket", eNETDOWN)
	}
	s := newSock(h, family, o)
	if err := s.bind(addr, local.Port()); err != nil {
		return nil, err
	}
	if h.recorder != nil {
		h.recorder.adopt(s)
	}
	return s, nil
}

// supported says which of the options a simulated host does not have.
func supported(o socket.Options) error {
	for name, wanted := range map[string]bool{
		"Device": o.Device != "", "Mark": o.Mark != 0, "FreeBind": o.FreeBind, "Transparent": o.Transparent,
		"ControlMessages": o.ControlMessages, "OnTransmit": o.TransmitTimestamps,
	} {
		if wanted {
			return fmt.Errorf("%s: %w", name, errors.ErrUnsupported)
		}
	}
	return nil
}
