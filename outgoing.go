package udp

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// outgoing is the interface that SetMulticastInterface has chosen.
type outgoing struct {
	ifRef
	set bool
}

// errStranded is why nothing is sent to groups while the chosen interface is gone.
var errStranded = fmt.Errorf("the interface to send by is gone: %w", os.NewSyscallError("sendto", sys.ENODEV))

// stranded says whether a datagram to a group, or to the peer that is one, would have
// to leave by an interface that is gone. The system may have given its index to
// another one by now, and would send it by that. A zone names its own.
func (r *registry) stranded(to netip.AddrPort, peer *netip.AddrPort) bool {
	if r == nil || !r.outLost.Load() {
		return false
	}
	if peer != nil {
		to = *peer
	}
	a := to.Addr()
	if a.Zone() != "" && (a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()) {
		return false // others Linux sends by the chosen one all the same: udpv6_sendmsg in net/ipv6/udp.c
	}
	return a.IsMulticast()
}

// restoreOut makes datagrams to groups leave by the chosen interface again after
// it was created anew.
func (r *registry) restoreOut(known []socket.Interface) bool {
	if !r.out.set {
		return true
	}
	before := r.out.ifRef
	if r.out.follow(known) == nil {
		r.outLost.Store(true)
		return true
	}
	if r.outLost.Load() || !r.out.same(before) {
		r.outLost.Store(r.conn.multicast.setOption(socket.MulticastInterface, r.out.index) != nil)
	}
	return !r.outLost.Load()
}

// SetMulticastInterface chooses the interface that datagrams to groups leave by; nil
// leaves it to the system, which asks its routing table. The choice outlives the
// interface: while there is none of its name nothing can be sent to groups (ENODEV),
// but by the zone of an IPv6 group of link scope, and then the new one is used. See also [MulticastConn.SendGroup].
func (m *MulticastConn) SetMulticastInterface(ifi *net.Interface) error {
	m.out.flush()
	r := m.groups
	known, done, err := r.begin()
	if err != nil {
		return m.opError("set", netip.AddrPort{}, err)
	}
	defer done()
	out := outgoing{}
	if ifi != nil {
		refs, err := refer(known, "", []*net.Interface{ifi})
		if err == nil && refs[0].index == 0 {
			err = errGone // 0 would be the system's choice
		}
		if err != nil {
			return m.opError("set", netip.AddrPort{}, err)
		}
		out = outgoing{ifRef: refs[0], set: true}
	}
	if err := m.setOption(socket.MulticastInterface, out.index); err != nil {
		return err
	}
	r.out = out
	r.outLost.Store(false)
	return nil
}

// MulticastInterface returns what SetMulticastInterface has chosen, nil for the system's choice.
// While the interface is gone the error wraps ENODEV.
func (m *MulticastConn) MulticastInterface() (*net.Interface, error) {
	r := m.groups
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.out.set {
		return nil, nil
	}
	known, err := r.look()
	if err == nil {
		ref := r.out.ifRef
		if k := ref.follow(known); k != nil {
			return &k.Interface, nil
		}
		err = errGone
	}
	return nil, m.opError("get", netip.AddrPort{}, err)
}
