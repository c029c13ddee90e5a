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

// Balances reports whether the system spreads the datagrams of one port over several
// sockets, and lets a socket leave without loss. A lenient stack has the hash, but no
// programs, and no way to leave; a sandbox may reject the option.
func Balances() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true // the socket that is opened next says why
	}
	defer unix.Close(fd)
	return !lenient(fd) && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) == nil
}

// A PortGroup is the sockets of one SO_REUSEPORT group that one Group has opened, in
// the order in which they were bound.
//
// The kernel has the sockets of a port in an array (net/core/sock_reuseport.c). A new
// socket is appended. When one leaves, the last of the array moves to its place, in
// one step. A program that is attached to the array chooses the socket of each
// datagram; without one, and when it chooses none, a hash over the array does.
//
// The eBPF program chooses from a map of sockets, which knows each by the number it
// has here, wherever it is in the array. The classic program chooses a place in the
// array, so it has to be replaced when a member leaves that is not the last. The array
// changes in another system call than the program. Between the two, what is for the
// socket that moves goes to the one that leaves, which still reads.
//
// When all leave, the last one does so first and the program stays. So the sockets of
// another PortGroup of the same size, which were appended, move to their places: number
// i of the new one gets what number i of the old one got.
type PortGroup struct {
	members []*Conn

	mu       sync.Mutex // guards what follows
	steering socket.Steering
	left     []bool // by member
	slots    []int  // the member in each place of the kernel's array, with cBPF
	leaving  bool   // all of them
}

// NewPortGroup makes a group of sockets that Open has bound to one port with
// ReusePort, in this order. It returns nil when they are not the kernel's.
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

// membershipOf is a place in a PortGroup.
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

// Steer attaches the best program that the process may: eBPF (Linux 4.19; CAP_BPF, or
// CAP_SYS_ADMIN before 5.8), or else classic BPF (Linux 4.5, by anybody). Without
// either the hash stays. It is called before a member leaves.
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

// Leave takes all members out of the array, the last first, and returns when nothing
// more can be queued for any of them, or, if it is not to wait, at once.
func (g *PortGroup) Leave(wait bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	restore := !g.leaving && g.steering == socket.SteeringCBPF && slices.Contains(g.left, true)
	g.leaving = true
	if restore {
		// Whoever joined is to find the program that fits all places.
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

// willLeave prepares the program for the leave of member i and returns what is to be
// called after it.
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
		if !left { // it stays in the array and gets nothing
			g.slots = before
			_ = g.attachSlots()
		}
	}
}

// closed follows the array when a member that could not leave before has been closed.
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

// without is what the array is after member i has left it.
func without(slots []int, i int) []int {
	slots = slices.Clone(slots)
	last := len(slots) - 1
	slots[slices.Index(slots, i)] = slots[last]
	return slots[:last]
}

// attachSlots attaches the classic program, by a member that is in the array.
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

// leaveArray takes the socket out of the array of its port: no datagram finds it any
// more. What is queued stays. A lookup that has chosen it already may still queue one.
func (c *Conn) leaveArray(fd int) bool {
	after := c.group.Load().willLeave()
	// What a lenient stack sends from then on would leave from the address of the connection.
	left := !c.lenient && c.connectToSelf(fd)
	if left && (c.mayBalance || c.exposed.Load()) {
		// connect takes a socket out that is bound to every address (udp_lib_rehash), and
		// since Linux 6.13 any (udp_lib_hash4). Otherwise it stays in the array, where a
		// program can choose it. Binding to the same interface again, or to none, takes it
		// out as well (sock_bindtoindex_locked, which calls udp_lib_rehash; Linux 5.0).
		_ = bindToIndex(fd, deviceOf(fd))
	}
	after(left)
	return left
}

// awaitArrivals returns when every datagram that was on its way to a socket as it was
// called is queued. A packet is received between rcu_read_lock and rcu_read_unlock,
// and this command waits for all of those (synchronize_rcu, Linux 4.3; some 10 ms). It
// does not work with nohz_full=; then a datagram that was on its way is lost if it
// takes longer than reading the queue.
func awaitArrivals() {
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h

// freePort finds a port that nobody uses, and keeps it until release is called:
// several sockets of one user may bind to it meanwhile. With SO_REUSEPORT the kernel
// may choose one that other sockets of the user have (udp_lib_get_port). A lenient stack
// shares what was bound with the option only: freePort fails with errors.ErrUnsupported.
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
