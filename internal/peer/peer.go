// Package peer has the peer that a socket is connected to, and the socket's own address,
// which depends on the peer.
//
// # Locking
//
// Peer.changing is held while the peer changes. The locks of the outbox come after it, and
// then Peer.asking, which guards the socket's own address.
package peer

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/udpkit/udp/internal/send"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// A Peer belongs to one socket. Any goroutine may use it, after Init.
type Peer struct {
	// Current is nil while the socket is unconnected. Only methods of Peer write it.
	Current atomic.Pointer[netip.AddrPort]
	next    atomic.Pointer[netip.AddrPort] // while it changes

	out    *send.Outbox // of the socket
	kernel bool         // the socket is the kernel's, not of a simulated network

	changing sync.Mutex // one change at a time
	unfollow func()     // guarded by changing; ends follow; nil: none is needed

	asking  sync.Mutex                     // guards changes of local
	local   atomic.Pointer[netip.AddrPort] // the socket's own address; nil: unknown, getsockname next time
	rebinds atomic.Uint64                  // of the socket when local was read
}

// Init makes p ready for use. kernel reports whether the socket is the kernel's, and not of
// a simulated network.
func (p *Peer) Init(out *send.Outbox, kernel bool) { p.out, p.kernel = out, kernel }

// Adopt sets the peer that the socket already has, if any, before it is used.
func (p *Peer) Adopt(current netip.AddrPort) {
	if current.IsValid() {
		p.Current.Store(&current)
	}
}

// Addr returns the peer, or the zero AddrPort if there is none.
func (p *Peer) Addr() netip.AddrPort {
	if now := p.Current.Load(); now != nil {
		return *now
	}
	return netip.AddrPort{}
}

// Or returns to, or the peer if to is not valid.
func (p *Peer) Or(to netip.AddrPort) netip.AddrPort {
	if to.IsValid() {
		return to
	}
	return p.Addr()
}

// IsNext reports whether the socket is being connected to the sender. The kernel passes on
// the new peer's datagrams before Reconnect returns.
func (p *Peer) IsNext(from netip.AddrPort) bool {
	next := p.next.Load()
	return next != nil && *next == from
}

// Local returns the socket's own address. It caches the address until it may have changed.
func (p *Peer) Local() netip.AddrPort {
	if n := p.out.Socket.Rebinds(); n != p.rebinds.Load() && !p.out.Life.Closed() {
		p.rebinds.Store(n)
		p.forgetLocal()
	}
	if local := p.local.Load(); local != nil {
		return *local
	}
	p.asking.Lock()
	defer p.asking.Unlock()
	local := p.out.Socket.Local()
	p.local.Store(&local)
	return local
}

// forgetLocal clears the cache of Local when the address may have changed.
func (p *Peer) forgetLocal() {
	p.asking.Lock()
	defer p.asking.Unlock()
	p.local.Store(nil)
}

// Connect connects an unconnected socket. If it fails, the socket is unchanged.
func (p *Peer) Connect(to netip.AddrPort) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.Current.Load() != nil {
		return os.NewSyscallError("connect", sys.EISCONN)
	}
	return p.change(to)
}

// Reconnect replaces the peer. If it fails, the old peer remains.
func (p *Peer) Reconnect(to netip.AddrPort) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.Current.Load() == nil {
		return os.NewSyscallError("connect", sys.ENOTCONN)
	}
	return p.change(to)
}

// change needs changing.
func (p *Peer) change(to netip.AddrPort) error {
	to, err := p.out.Named(send.Unmap(to))
	switch a := to.Addr(); {
	case p.out.Life.Closed():
		return net.ErrClosed
	case !a.IsValid():
		return &net.AddrError{Err: "missing address"}
	case to.Port() == 0:
		return &net.AddrError{Err: "cannot connect to port 0"} // Addr is the net.OpError's
	case !p.out.Family.Has(a):
		return socket.ErrFamily
	case err != nil:
		return err
	}
	p.next.Store(&to)
	defer p.next.Store(nil)
	losable := p.mayLoseSource(to.Addr())
	err = p.out.Hold(func() error {
		now, err := p.out.Socket.Connect(to)
		if err == nil {
			p.Current.Store(&now)
			p.forgetLocal()
		}
		return err
	})
	if losable && p.Current.Load() != nil {
		p.follow()
	}
	return err
}

// Disconnect removes the peer. If it fails, the peer remains.
func (p *Peer) Disconnect() error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.out.Life.Closed() {
		return net.ErrClosed
	}
	if p.Current.Load() == nil {
		return os.NewSyscallError("connect", sys.ENOTCONN)
	}
	err := p.out.Hold(func() error {
		err := p.out.Socket.Disconnect()
		if err == nil {
			p.Current.Store(nil)
			p.forgetLocal()
		}
		return err
	})
	if err == nil && !p.out.Socket.Info().Device {
		p.stopFollowing()
	}
	return err
}
