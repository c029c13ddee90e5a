// Package sys makes every system call of the toolkit. Its sockets are
// net.UDPConns in Go's network poller; what net can't do is done on their
// descriptors.
//
// What a system must supply, one file a system (or a group of them) each:
//
//	serve, send      the packet path: sys_linux.go, and sys_other.go for the rest
//	                 (there with net.UDPConn's own calls, a datagram at a time; the
//	                 tag udpbasic selects it on Linux too, so that it is tested)
//	set…             options of Config: options_families.go with the numbers of each system
//	                 (numbers.go), options_linux.go, …
//	setup            options before the first read: setup_linux.go, setup_bsd.go, …
//	connect, …       what net has no call for: fd_unix.go, fd_windows.go, fd_other.go;
//	                 peer.go makes changes of the peer of them
//	MTU              of the path: mtu_linux.go
//	Classify         what an errno means: errno_unix.go, errno_windows.go, …
//	Namespace        interfaces and their changes: watch_linux.go, watch_other.go
//
// Multicast memberships and options are golang.org/x/net's on every system.
package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/socket"
)

// Conn is a socket of the kernel's. It implements socket.Socket.
type Conn struct {
	uc   *net.UDPConn
	rc   syscall.RawConn
	info socket.Info
	path packetPath // what the packet path of this system keeps
	pull pull       // of a socket that is read by its callers

	ownOptions  bool                           // its owner may have set options before the first read
	adopted     bool                           // others may have descriptors of the same socket
	sharing     sharing                        // what to restore for them
	mayBalance  bool                           // it may be in a SO_REUSEPORT group
	redirected  bool                           // datagrams may come that were sent to another address and port
	lenient     bool                           // the system ignores options that it does not have
	refuses     atomic.Bool                    // its filter drops everything
	portKept    atomic.Bool                    // the port stays bound when the peer changes
	segments    atomic.Int32                   // of a segmented send, 0: there are none (Windows; see packetPath for Linux)
	dissolved   atomic.Bool                    // Local is bound again, whatever the system says (Windows)
	alone       atomic.Bool                    // it has left its SO_REUSEPORT group, and has no peer but itself
	exposed     atomic.Bool                    // SyscallConn was called: options may change
	class       [2]atomic.Int32                // socketClass of IPv4 and IPv6, with bit 8 set once known
	bound       netip.AddrPort                 // what bind was asked for, with the port it got
	inet6       bool                           // it is of AF_INET6, whatever it can reach
	last        atomic.Pointer[netip.AddrPort] // its address before it was connected to itself, or closed
	only        netip.Addr                     // the one address that datagrams come for, if it is one
	keeps       bool                           // Options.ControlMessages
	wantsStamps bool                           // Options.TransmitTimestamps

	group atomic.Pointer[membershipOf] // what shares the port, nil: not of ListenGroup

	changing sync.Mutex            // one change of the peer at a time
	peer     peer                  // guarded by changing
	lost     atomic.Pointer[error] // why the socket can't be repaired
	rebinds  atomic.Uint64         // repairs
	out      outgoing              // the interface of what goes to groups
	overflow overflow              // memberships that the socket has no room for
	zones    zoneCache

	counting sync.Mutex // guards what follows
	counted  uint32     // the system's drop counter when last asked
	dropped  int64      // all drops, without its wrapping
}

var _ socket.Socket = (*Conn)(nil)

// Open implements socket.Network.
func (Kernel) Open(ctx context.Context, network string, local netip.AddrPort, o socket.Options) (socket.Socket, error) {
	for tries := 0; ; tries++ {
		var filter bool
		uc, err := bindSocket(ctx, network, local, o, &filter)
		if err != nil {
			return nil, err
		}
		kept := local.Port() != 0
		if !kept && tries < maxPorts {
			if kept, err = keepPort(uc, o.Device != "" || o.Control != nil); err != nil {
				uc.Close()
				if !errors.Is(err, EADDRINUSE) {
					tries = maxPorts // it may be forbidden to ask for a port
				}
				continue
			}
		}
		c, err := adopt(uc, o, false, filter)
		if err != nil {
			return nil, err
		}
		c.portKept.Store(kept)
		return c, nil
	}
}

// maxPorts is how many ports may be taken by others while a socket is bound to one.
const maxPorts = 16

// bindSocket makes a socket with the options that come before bind. It sets filter if
// the socket gets only the groups that it joins itself.
func bindSocket(ctx context.Context, network string, local netip.AddrPort, o socket.Options, filter *bool) (*net.UDPConn, error) {
	control := func(network, address string, rc syscall.RawConn) error {
		var err error
		if *filter, err = beforeBind(rc, network, o); err != nil {
			return err
		}
		if err := setOptions(rc, &o); err != nil {
			return err
		}
		if o.Control != nil {
			return o.Control(network, address, rc)
		}
		return nil
	}
	if local.Addr().IsMulticast() {
		if bindsTo(local.Addr()) {
			return bindToGroup(local, control)
		}
		network, local = wildcardFor(local)
	}
	return listen(ctx, network, local, control)
}

// listenPacket is package net's way to bind a socket.
func listenPacket(ctx context.Context, network, address string, control controlFunc) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: control}
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, unwrapOp(err)
	}
	return pc.(*net.UDPConn), nil
}

type controlFunc = func(network, address string, rc syscall.RawConn) error

// Adopt makes a socket of uc, which it owns from now on, also when it fails.
// Package net never lets a socket that it has connected itself send to another
// address, not even when the socket has been disconnected since, so of such a one
// a duplicate is used, where the system makes one.
func Adopt(uc *net.UDPConn, o socket.Options) (*Conn, error) {
	if uc.RemoteAddr() != nil {
		other, err := duplicate(uc)
		if !errors.Is(err, errors.ErrUnsupported) {
			uc.Close()
			uc = other
		}
		if uc == nil {
			return nil, err
		}
	}
	return adopt(uc, o, true, false)
}

// adopt makes a socket of uc, which it closes when it fails. With filter the socket
// gets only the groups that it joins itself.
func adopt(uc *net.UDPConn, o socket.Options, adopted, filter bool) (*Conn, error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		uc.Close()
		return nil, unwrapOp(err)
	}
	c := &Conn{uc: uc, rc: rc, adopted: adopted, pull: pull{on: o.Pulled}}
	c.info.MulticastFilter = filter && o.Control == nil
	c.mayBalance = adopted || o.ReusePort || o.Control != nil
	c.wantsStamps, c.keeps = o.TransmitTimestamps, o.ControlMessages
	if adopted {
		uc.SetDeadline(time.Time{}) // the former owner's
	}
	shared := adopted || o.Control != nil
	if shared {
		err = c.cameShared(o)
	}
	if err == nil && adopted { // a new one has them since before bind
		err = setOptions(rc, &o)
	}
	if err == nil {
		err = c.prepare(o)
	}
	if shared {
		c.path.coalesce(rc)
		c.isShared()
	}
	if err != nil {
		c.handBack()
		uc.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) prepare(o socket.Options) error {
	family, bound, err := c.familyOf()
	if err != nil {
		return err
	}
	c.info.Family, c.redirected, c.ownOptions = family, o.Transparent, c.adopted || o.Control != nil
	if c.adopted {
		if c.peer.want = c.Peer(); c.peer.want.IsValid() {
			c.peer.set, c.peer.zoned = true, c.peer.want.Addr().Zone() != ""
		}
	}
	if !c.peer.zoned && (c.ownOptions || o.Device != "") {
		c.noteDevice()
	}
	c.inet6 = bound.Addr().Is6()
	if c.bound = unmap(bound); !bound.IsValid() {
		c.bound = c.Local()
	}
	if c.bound.Addr().Zone() != "" && c.peer.device == 0 && !c.peer.zoned {
		c.noteDevice() // which bind has bound it to
	}
	c.info.Device = c.peer.name != ""
	if !c.wildcard() && !c.peer.set { // which may be the wildcard once the peer is taken away
		c.only = c.bound.Addr()
	}
	if err := setBroadcast(c.rc, o.Broadcast); err != nil {
		return err
	}
	setBuffer(c.rc, readBuffer, o.ReadBuffer)
	setBuffer(c.rc, writeBuffer, o.WriteBuffer)
	if err := c.setup(o); err != nil {
		return err
	}
	if o.PeerErrors && !c.info.ErrorQueue {
		return fmt.Errorf("PeerErrors: %w", errors.ErrUnsupported)
	}
	if c.peer.set {
		c.connectTo(c.peer.want.Addr().Zone())
		return c.peerChanged(c.peer.want)
	}
	return nil
}

// minSkb is less than any system takes of a receive buffer beside a payload, bytes.
const minSkb = 64

// Limits implements socket.Socket.
func (c *Conn) Limits() socket.Limits {
	return socket.Limits{ReadBuffer: bufferSize(c.rc, readBuffer), WriteBuffer: bufferSize(c.rc, writeBuffer), Batch: c.batch()}
}

// Peer implements socket.Socket.
func (c *Conn) Peer() netip.AddrPort {
	peer, err := getpeername(c.rc)
	if err != nil {
		return netip.AddrPort{}
	}
	return unmap(peer)
}

// Wake implements socket.Socket: a deadline in the past ends the wait of a
// reader, and of the next one to come.
func (c *Conn) Wake() {
	c.path.wake()
	if c.pull.on {
		c.pull.wake(c)
		return
	}
	c.uc.SetReadDeadline(past)
}

var past = time.Unix(1, 0)

// SetWriteDeadline implements socket.Socket.
func (c *Conn) SetWriteDeadline(t time.Time) error { return unwrapOp(c.uc.SetWriteDeadline(t)) }

// SyscallConn implements socket.Socket.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	c.exposed.Store(true)
	c.path.coalesce(c.rc)
	c.isShared() // its user may make another descriptor
	return c.rc, nil
}

// Close implements socket.Socket.
func (c *Conn) Close() error {
	c.noteLocal(c.Local())
	c.overflow.close()
	c.closeReports()
	c.handBack()
	c.handBackMode()
	err := unwrapOp(c.uc.Close())
	c.group.Load().closed()
	return err
}

// Detach implements socket.Socket.
func (c *Conn) Detach() (*net.UDPConn, error) {
	out, err := duplicate(c.uc) // so that nothing of c reaches the socket any more
	if err != nil {
		return nil, err
	}
	c.noteLocal(c.Local())
	c.isShared()
	c.overflow.close()
	c.closeReports()
	c.handBack()
	c.uc.Close()
	return out, nil
}

// Drops implements socket.Socket. The system counts modulo 2^32.
func (c *Conn) Drops() int64 {
	c.counting.Lock()
	defer c.counting.Unlock()
	n, ok := drops(c.rc)
	if !ok {
		return -1
	}
	c.dropped += int64(n - c.counted)
	c.counted = n
	return c.dropped
}

// Local implements socket.Socket.
func (c *Conn) Local() netip.AddrPort {
	if c.dissolved.Load() {
		return c.bound
	}
	last := c.last.Load()
	if last != nil && c.alone.Load() { // it is connected to itself
		return *last
	}
	local, err := getsockname(c.rc)
	switch {
	case err == nil:
		return unmap(local)
	case last != nil:
		return *last
	}
	return unmap(c.uc.LocalAddr().(*net.UDPAddr).AddrPort())
}

// noteLocal remembers the address for when the socket is closed.
func (c *Conn) noteLocal(local netip.AddrPort) {
	local = unmap(local)
	c.last.Store(&local)
}

// wildcard says whether datagrams may come for more than one address.
func (c *Conn) wildcard() bool { return c.bound.Addr().IsUnspecified() }

// needsInfo says whether a datagram has to come with its destination or its
// interface, because they are not clear from what the socket is bound to.
func (c *Conn) needsInfo() bool {
	return c.wildcard() || c.bound.Addr().IsMulticast() || c.peer.set || c.redirected
}

// wildcardFor is what a socket is bound to for a group that it can't be bound to.
func wildcardFor(group netip.AddrPort) (network string, local netip.AddrPort) {
	if group.Addr().Is4() {
		return "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), group.Port())
	}
	return "udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), group.Port())
}

// unmap takes the 4-in-6 form off an address.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// unwrapOp takes the net.OpError off, since the layer above puts its own on.
func unwrapOp(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return named(err)
}

func sysErr(call string, err error) error {
	if err == nil {
		return nil
	}
	return named(os.NewSyscallError(call, err))
}
