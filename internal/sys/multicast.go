package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/udpkit/udp/internal/socket"
)

// member is one membership of a socket.
type member struct {
	group, source netip.Addr // source: invalid for any
	ifindex       int
}

// Join implements socket.Socket.
func (c *Conn) Join(group, source netip.Addr, ifindex int) error {
	return c.joinMember(member{group, source, ifindex})
}

// Leave implements socket.Socket.
func (c *Conn) Leave(group, source netip.Addr, ifindex int) error {
	return c.leaveMember(member{group, source, ifindex})
}

// Block implements socket.Socket.
func (c *Conn) Block(group, source netip.Addr, ifindex int, on bool) error {
	a := unblock
	if on {
		a = block
	}
	return c.blockMember(member{group, source, ifindex}, a)
}

// action is a change of a membership. block and unblock need a source.
type action int

const (
	join action = iota
	leave
	block
	unblock
)

// groups has the methods that ipv4.PacketConn and ipv6.PacketConn of x/net share.
type groups interface {
	JoinGroup(*net.Interface, net.Addr) error
	LeaveGroup(*net.Interface, net.Addr) error
	JoinSourceSpecificGroup(ifi *net.Interface, group, source net.Addr) error
	LeaveSourceSpecificGroup(ifi *net.Interface, group, source net.Addr) error
	ExcludeSourceSpecificGroup(ifi *net.Interface, group, source net.Addr) error
	IncludeSourceSpecificGroup(ifi *net.Interface, group, source net.Addr) error
}

// changeMembership changes a membership of one socket.
func changeMembership(uc *net.UDPConn, m member, a action) error {
	if done, err := changeOlder(uc, m, a, nil); done || err != nil {
		return err
	}
	err := changeNewer(uc, m, a)
	if err == nil {
		return nil
	}
	if done, older := changeOlder(uc, m, a, err); done {
		return older
	}
	return err
}

// changeNewer is changeMembership by the options of RFC 3678 or the system's own.
func changeNewer(uc *net.UDPConn, m member, a action) error {
	ifi, group, source := byIndex(m.ifindex), udpAddr(m.group), udpAddr(m.source)
	var p groups = ipv6.NewPacketConn(uc)
	if m.group.Is4() {
		p = ipv4.NewPacketConn(uc)
	}
	specific := m.source.IsValid()
	var err error
	switch {
	case a == join && specific:
		err = p.JoinSourceSpecificGroup(ifi, group, source)
	case a == join:
		err = p.JoinGroup(ifi, group)
	case a == leave && specific:
		err = p.LeaveSourceSpecificGroup(ifi, group, source)
	case a == leave:
		err = p.LeaveGroup(ifi, group)
	case a == block:
		err = p.ExcludeSourceSpecificGroup(ifi, group, source)
	default:
		err = p.IncludeSourceSpecificGroup(ifi, group, source)
	}
	return multicastErr(err)
}

// outgoing is the interface for datagrams to groups, as the option was last set. If no control
// message can choose another interface for a single datagram, the option is changed for that
// datagram; outgoing is locked meanwhile, and other senders wait.
type outgoing struct {
	sync.RWMutex
	index [2]int // of IPv4 and IPv6
}

// leaveBy makes datagrams to groups leave by an interface until restore is called.
func (c *Conn) leaveBy(ifindex int, v6 bool) (restore func(), err error) {
	c.out.Lock()
	if err := c.setMulticast(socket.MulticastInterface, v6, ifindex); err != nil {
		c.out.Unlock()
		return nil, err
	}
	return func() {
		c.setMulticast(socket.MulticastInterface, v6, c.out.index[toInt(v6)])
		c.out.Unlock()
	}, nil
}

// SetMulticast implements socket.Socket.
func (c *Conn) SetMulticast(o socket.MulticastOption, v6 bool, value int) error {
	if o != socket.MulticastInterface {
		return c.setMulticast(o, v6, value)
	}
	c.out.Lock()
	defer c.out.Unlock()
	err := c.setMulticast(o, v6, value)
	if err == nil {
		c.out.index[toInt(v6)] = value
	}
	return err
}

func (c *Conn) setMulticast(o socket.MulticastOption, v6 bool, value int) error {
	if v6 {
		p := ipv6.NewPacketConn(c.uc)
		switch o {
		case socket.MulticastTTL:
			return multicastErr(p.SetMulticastHopLimit(value))
		case socket.MulticastLoopback:
			return multicastErr(p.SetMulticastLoopback(value != 0))
		default:
			return multicastErr(p.SetMulticastInterface(byIndex(value)))
		}
	}
	p := ipv4.NewPacketConn(c.uc)
	switch o {
	case socket.MulticastTTL:
		return multicastErr(p.SetMulticastTTL(value))
	case socket.MulticastLoopback:
		return multicastErr(p.SetMulticastLoopback(value != 0))
	default:
		return multicastErr(p.SetMulticastInterface(byIndex(value)))
	}
}

// Multicast implements socket.Socket. It remembers the interface, because not every system
// returns it (Linux returns an address for IPv4).
func (c *Conn) Multicast(o socket.MulticastOption, v6 bool) (n int, err error) {
	p4, p6 := ipv4.NewPacketConn(c.uc), ipv6.NewPacketConn(c.uc)
	on := false
	switch {
	case o == socket.MulticastInterface:
		c.out.RLock()
		defer c.out.RUnlock()
		return c.out.index[toInt(v6)], nil
	case o == socket.MulticastTTL && v6:
		n, err = p6.MulticastHopLimit()
	case o == socket.MulticastTTL:
		n, err = p4.MulticastTTL()
	case v6:
		on, err = p6.MulticastLoopback()
		n = toInt(on)
	default:
		on, err = p4.MulticastLoopback()
		n = toInt(on)
	}
	return n, multicastErr(err)
}

// multicastErr unwraps x/net's net.OpError. Errors of x/net itself are not an
// os.SyscallError and have no sentinels. "no such interface" means that the interface has no
// IPv4 address and that this system names interfaces by one. Any other means that the system
// cannot do it.
func multicastErr(err error) error {
	err = unwrapOp(err)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*os.SyscallError](err); ok {
		return err
	}
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	if err.Error() == "no such interface" {
		return fmt.Errorf("%w: %w", err, EADDRNOTAVAIL)
	}
	return errors.Join(errors.ErrUnsupported, err)
}

func udpAddr(a netip.Addr) *net.UDPAddr {
	if !a.IsValid() {
		return nil
	}
	return &net.UDPAddr{IP: a.WithZone("").AsSlice()}
}

// byIndex returns a net.Interface for x/net. x/net uses only the index, and on systems that
// name interfaces by an address looks that up by the index.
func byIndex(i int) *net.Interface {
	if i == 0 {
		return nil
	}
	return &net.Interface{Index: i}
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
