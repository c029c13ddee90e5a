// Package sys makes every system call of the toolkit. Its sockets are net.UDPConns in
// Go's network poller. What package net can't do is done on their descriptors.
//
// Each system, or group of systems, has a file for each of these:
//
//	serve, send      the packet path: sys_linux.go, and sys_other.go for all others
//	                 (with net.UDPConn's own calls, one datagram at a time; the tag
//	                 udpbasic selects it on Linux too, for tests)
//	set…             options of Config: options_families.go with the numbers of each system
//	                 (numbers.go), options_linux.go, …
//	setup            options before the first read: setup_linux.go, setup_bsd.go, …
//	connect, …       calls that net does not have: fd_unix.go, fd_windows.go, fd_other.go;
//	                 peer.go builds changes of the peer from them
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

// Conn is a socket of the kernel. It implements socket.Socket.
type Conn struct {
	uc   *net.UDPConn
	rc   syscall.RawConn
	info socket.Info
	path packetPath // the state of this system's packet path
	pull pull       // the state of a socket that its callers read

	ownOptions  bool                           // its owner can set options before the first read
	adopted     bool                           // others may have descriptors of the same socket
	sharing     sharing                        // options to restore for them
	mayBalance  bool                           // it may be in a SO_REUSEPORT group
	redirected  bool                           // datagrams sent to another address and port may arrive
	lenient     bool                           // the system ignores options that it does not have
	refuses     atomic.Bool                    // its filter drops everything
	portKept    atomic.Bool                    // the port stays bound when the peer changes
	segments    atomic.Int32                   // most segments of a send, 0: none (Windows; for Linux see packetPath)
	dissolved   atomic.Bool                    // Local is bound again, even if the system returns another address (Windows)
	alone       atomic.Bool                    // it has left its SO_REUSEPORT group and is connected to itself
	exposed     atomic.Bool                    // SyscallConn was called: options may change
	class       [2]atomic.Int32                // socketClass of IPv4 and IPv6, with bit 8 set once known
	bound       netip.AddrPort                 // the address passed to bind, with the port that was chosen
	inet6       bool                           // it is of AF_INET6, even if it can reach IPv4 only
	last        atomic.Pointer[netip.AddrPort] // its address before it was connected to itself, or closed
	only        netip.Addr                     // the destination of all datagrams, if there is only one
	keeps       bool                           // Options.ControlMessages
	wantsStamps bool                           // Options.TransmitTimestamps

	group atomic.Pointer[membershipOf] // its membership, if ListenGroup opened it

	changing sync.Mutex            // one change of the peer at a time
	peer     peer                  // guarded by changing
	lost     atomic.Pointer[error] // why the socket can't be repaired
	rebinds  atomic.Uint64         // repairs
	out      outgoing              // the interface for datagrams to groups
	overflow overflow              // memberships that the socket has no room for
	zones    zoneCache

	counting sync.Mutex // guards the fields below
	counted  uint32     // the system's drop counter when last read
	dropped  int64      // all drops, without wrapping
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
					tries = maxPorts // binding to a port by number may be forbidden
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

// maxPorts bounds how many ports are tried if other programs take them first.
const maxPorts = 16

// bindSocket makes a socket with the options that must be set before bind. It sets filter if
// the socket receives only the groups that it joins itself.
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

// listenPacket binds a socket with package net.
func listenPacket(ctx context.Context, network, address string, control controlFunc) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: control}
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, unwrapOp(err)
	}
	return pc.(*net.UDPConn), nil
}

type controlFunc = func(network, address string, rc syscall.RawConn) error

// Adopt makes a socket of uc and takes ownership of it, even if it fails. If package net
// connected the socket, it never lets it send to another address, not even after it was
// disconnected. So Adopt uses a duplicate of such a socket, where the system can make one.
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

// adopt makes a socket of uc, which it closes if it fails. filter: the socket receives only
// the groups that it joins itself.
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
	if err == nil && adopted { // on a new one they were set before bind
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

// minSkb is a lower bound, in bytes, of the overhead of a datagram in a receive buffer.
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

// Wake implements socket.Socket. A deadline in the past ends the wait of the reader, or of the
// next one.
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
	c.isShared() // the caller can make another descriptor
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
	out, err := duplicate(c.uc) // so that c has no access to it any more
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

// noteLocal records the address, for calls after Close.
func (c *Conn) noteLocal(local netip.AddrPort) {
	local = unmap(local)
	c.last.Store(&local)
}

// wildcard reports whether the socket is bound to all addresses.
func (c *Conn) wildcard() bool { return c.bound.Addr().IsUnspecified() }

// needsInfo reports whether datagrams need control messages with their destination or interface,
// because the socket's own address does not determine these.
func (c *Conn) needsInfo() bool {
	return c.wildcard() || c.bound.Addr().IsMulticast() || c.peer.set || c.redirected
}

// wildcardFor returns the address to bind to for a group that a socket can't be bound to.
func wildcardFor(group netip.AddrPort) (network string, local netip.AddrPort) {
	if group.Addr().Is4() {
		return "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), group.Port())
	}
	return "udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), group.Port())
}

// unmap returns an address without the 4-in-6 form.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// unwrapOp returns the error inside a net.OpError, since the layer above adds its own.
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
