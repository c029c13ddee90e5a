package sys

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/udpkit/udp/internal/socket"
)

// Balances reports whether the system distributes the datagrams of one port over several
// sockets and lets a socket leave without loss. A lenient stack has the hash but no programs,
// and no way to leave. A sandbox may reject the option.
func Balances() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // opening the next socket returns the error
	}
	defer unix.Close(fd)
	return !lenient(fd) && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) == nil
}

// A PortGroup has the sockets of one SO_REUSEPORT group that one Group has opened, in the
// order in which they were bound.
//
// The kernel has the sockets of a port in an array (net/core/sock_reuseport.c). It appends a
// new socket. When a socket leaves, the last one of the array takes its place, atomically. A
// program attached to the array chooses the socket of each datagram. Without a program, or
// if that chooses none, a hash over the array does.
//
// The eBPF program chooses from a map of sockets. Their numbers in the map are those of the
// members, independent of the array. The classic program chooses a place in the array. So it
// has to be replaced when a member leaves that is not the last. The array and the program
// change in two system calls. Between these, datagrams for the socket that moves reach the
// socket that leaves, which still reads.
//
// When all members leave, the last one leaves first and the program stays. Thus the sockets of
// another PortGroup of the same size, which were appended, move to their places, and member i
// of the new group gets the flows of member i of the old one.
type PortGroup struct {
	members []*Conn

	mu       sync.Mutex // guards what follows
	steering socket.Steering
	left     []bool // by member
	slots    []int  // the member in each place of the kernel's array, with cBPF
	leaving  bool   // all members leave
}

// NewPortGroup makes a group of sockets that Open has bound to one port with
// ReusePort, in this order. It returns nil if they are not sockets of the kernel.
func NewPortGroup(socks []socket.Socket) *PortGroup {
	g := &PortGroup{steering: socket.SteeringHash, left: make([]bool, len(socks))}
	for i, s := range socks {
		c, ok := s.(*Conn)
		if !ok {
			return nil
		}
		g.members, g.slots = append(g.members, c), append(g.slots, i)
		c.group.Store(&membershipOf{g, i})
	}
	return g
}

// membershipOf is the membership of a socket in a PortGroup.
type membershipOf struct {
	group  *PortGroup
	number int
}

// Steering returns what chooses the sockets.
func (g *PortGroup) Steering() socket.Steering {
	if g == nil {
		return socket.SteeringNone
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.steering
}

// Steer attaches the best program that the process is allowed to: eBPF (Linux 4.19; CAP_BPF,
// or CAP_SYS_ADMIN before 5.8), or else classic BPF (Linux 4.5, without a capability).
// Otherwise the kernel's hash stays. Steer is called before any member leaves.
func (g *PortGroup) Steer() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.attachMap() == nil:
		g.steering = socket.SteeringEBPF
	case g.attachSlots() == nil:
		g.steering = socket.SteeringCBPF
	}
}

// Leave removes all members from the array, the last first. With wait it returns when no more
// datagrams can be queued for any of them, otherwise at once.
func (g *PortGroup) Leave(wait bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	restore := !g.leaving && g.steering == socket.SteeringCBPF && slices.Contains(g.left, true)
	g.leaving = true
	if restore {
		// Members of another group need the program that fits all places.
		g.slots, g.left = g.slots[:0], make([]bool, len(g.members))
		for i := range g.members {
			g.slots = append(g.slots, i)
		}
		_ = g.attachSlots()
	}
	g.mu.Unlock()
	for _, c := range slices.Backward(g.members) {
		_ = onFD(c.rc, func(fd int) error {
			if !c.alone.Load() {
				c.leaveArray(fd)
			}
			return nil
		})
	}
	if wait {
		awaitArrivals()
	}
}

// willLeave prepares the program for the leave of the member. after must be called then.
func (m *membershipOf) willLeave() (after func(left bool)) {
	if m == nil {
		return func(bool) {}
	}
	g, i := m.group, m.number
	g.mu.Lock()
	if g.leaving || g.steering != socket.SteeringCBPF || g.left[i] {
		g.mu.Unlock()
		return func(bool) {}
	}
	before := slices.Clone(g.slots)
	g.left[i] = true
	g.slots = without(g.slots, i)
	_ = g.attachSlots()
	return func(left bool) {
		defer g.mu.Unlock()
		if !left { // it stays in the array and gets no flows
			g.slots = before
			_ = g.attachSlots()
		}
	}
}

// closed updates slots after a member that could not leave the array was closed.
func (m *membershipOf) closed() {
	if m == nil {
		return
	}
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left[m.number] && slices.Contains(g.slots, m.number) {
		g.slots = without(g.slots, m.number)
		_ = g.attachSlots()
	}
}

// without returns the array after member i has left.
func without(slots []int, i int) []int {
	slots = slices.Clone(slots)
	last := len(slots) - 1
	slots[slices.Index(slots, i)] = slots[last]
	return slots[:last]
}

// attachSlots attaches the classic program, with the descriptor of a member in the array.
func (g *PortGroup) attachSlots() error {
	program := slotProgram(len(g.members), g.slots, g.left)
	err := error(unix.EINVAL)
	for _, i := range g.slots {
		if err = onFD(g.members[i].rc, func(fd int) error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
				&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
		}); err == nil {
			return nil
		}
	}
	return err
}

// attachMap makes the map of sockets and attaches the eBPF program.
func (g *PortGroup) attachMap() error {
	m, err := newSockArray(len(g.members))
	if err != nil {
		return err
	}
	defer unix.Close(m) // the program keeps the map, and the port keeps the program
	for i, c := range g.members {
		if err := onFD(c.rc, func(fd int) error { return setSock(m, i, fd) }); err != nil {
			return err
		}
	}
	program, err := loadMapProgram(m, len(g.members))
	if err != nil {
		return err
	}
	defer unix.Close(program)
	return setInt(g.members[0].rc, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, program)
}

// leaveArray removes the socket from the array of its port, so that no datagram reaches it
// any more. Queued datagrams stay. A lookup that has already chosen the socket may queue one more.
func (c *Conn) leaveArray(fd int) bool {
	after := c.group.Load().willLeave()
	// A lenient stack would then send everything from the address of the connection.
	left := !c.lenient && c.connectToSelf(fd)
	if left && (c.mayBalance || c.exposed.Load()) {
		// connect removes a socket that is bound to all addresses (udp_lib_rehash), and since
		// Linux 6.13 any socket (udp_lib_hash4). Otherwise it stays in the array, where a
		// program can choose it. Binding it to the same interface again, or to none, also
		// removes it (sock_bindtoindex_locked, which calls udp_lib_rehash; Linux 5.0).
		_ = bindToIndex(fd, deviceOf(fd))
	}
	after(left)
	return left
}

// awaitArrivals waits until all datagrams that are on their way to a socket are queued. The
// kernel receives a packet between rcu_read_lock and rcu_read_unlock, and this command waits
// for all such sections (synchronize_rcu, Linux 4.3; some 10 ms). It fails with nohz_full=; then
// a datagram on its way is lost if it takes longer than reading the queue.
func awaitArrivals() {
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h

// freePort finds an unused port and reserves it until release is called. Meanwhile sockets of
// the same user can bind to it. (With SO_REUSEPORT, the kernel may choose a port that other
// sockets of the user have: udp_lib_get_port.) It fails with errors.ErrUnsupported on a lenient
// stack, which shares a port only if all its sockets were bound with the option.
func (k Kernel) freePort(ctx context.Context, network string, local netip.AddrPort, o socket.Options) (port uint16, release func(), err error) {
	o.ReusePort, o.ReuseAddr = false, false
	uc, err := bindSocket(ctx, network, local, o, new(bool))
	if err != nil {
		return 0, nil, err
	}
	release = func() { uc.Close() }
	rc, err := uc.SyscallConn()
	if err == nil {
		err = onFD(rc, func(fd int) error {
			if lenient(fd) {
				return errors.ErrUnsupported
			}
			return sysErr("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}
	if err != nil {
		release()
		return 0, nil, unwrapOp(err)
	}
	at, err := getsockname(rc)
	if err != nil {
		release()
		return 0, nil, err
	}
	return at.Port(), release, nil
}
