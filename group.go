package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/sys"
)

// Steering is how the datagrams to a port find one of its sockets.
type Steering int

const (
	// SteeringNone: one socket has the port.
	SteeringNone Steering = iota

	// SteeringHash: the system's hash of the addresses and ports, over the sockets that
	// share the port. When one joins or leaves, most flows move to other sockets. Linux
	// with [Config.ReusePort].
	SteeringHash

	// SteeringCBPF: a classic BPF program, which any process may attach (Linux 4.5).
	// Flows move only when their own member leaves. If that member was not the last one
	// of the group, the flows of the last one pass through it until the program is
	// replaced: for some microseconds.
	SteeringCBPF

	// SteeringEBPF: an eBPF program and a map of the sockets. Flows move only when their
	// own member leaves. Linux 4.19, with CAP_BPF (CAP_SYS_ADMIN before Linux 5.8).
	SteeringEBPF
)

// String returns the name of the mechanism, such as "ebpf".
func (s Steering) String() string {
	switch s {
	case SteeringNone:
		return "none"
	case SteeringHash:
		return "hash"
	case SteeringCBPF:
		return "cbpf"
	case SteeringEBPF:
		return "ebpf"
	}
	return "Steering(" + strconv.Itoa(int(s)) + ")"
}

// maxMembers is the most sockets of a Group: the classic BPF program, of at most 4,096
// instructions, has a few for each.
const maxMembers = 256

// Group is several sockets on one port, its members, each with a goroutine and a
// Handler of its own. The system distributes the flows: a flow is what one peer's address
// and port sends. All of it comes to one member, in order, until that member leaves.
//
// A member leaves when it is shut down or closed. Its flows then move to the other
// members and stay there. The flows of the other members do not move. With Shutdown the
// member first handles the datagrams that it had, so none is lost. The methods of a
// Group may be called from any goroutine.
type Group struct {
	conns  []*Conn
	port   *sys.PortGroup // nil: one socket
	failed chan struct{}  // closed when a member stops with an error
	done   chan struct{}  // closed when all have stopped
}

// ListenGroup binds n sockets to one port and starts them, as Listen does; f(i) makes
// the Handler of member i. n is at most 256; n <= 0 means GOMAXPROCS. Address, port 0
// and errors are those of Listen. If one socket cannot be bound, none stays open.
//
// On Linux the sockets have SO_REUSEPORT, and a BPF program steers flows: see [Steering]
// and [Group.Steering]. On other systems, in gVisor and on a simulated network there is a
// single socket, with f(0). Whether several sockets are faster depends on the Handlers and the
// network device: see docs/groups.md.
//
// Another process of the same user can take over from a Group without losing a
// datagram: it calls ListenGroup for the same port and the same n, and then the older
// Group is shut down. Member i of the new Group gets the flows of member i of the old
// one. With SteeringCBPF that happens when the old member leaves, with SteeringEBPF
// when ListenGroup returns.
//
// With Config.ReusePort the port is shared with other processes all the time. No program
// is attached then, and flows are distributed over the sockets of all of them
// (SteeringHash). Leaving loses nothing either, but most flows move.
func (cfg Config) ListenGroup(ctx context.Context, n int, network, address string, f func(i int) Handler) (*Group, error) {
	balance := cfg.Network == nil && sys.Balances()
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	switch {
	case f == nil:
		return nil, opError("listen", network, nil, fmt.Errorf("nil function: %w", os.ErrInvalid))
	case n > maxMembers:
		return nil, opError("listen", network, nil, fmt.Errorf("a group of %d sockets: %w", n, os.ErrInvalid))
	case !balance:
		n = 1
	}
	handlers := make([]Handler, n)
	for i := range handlers {
		handlers[i] = f(i)
		if err := cfg.check(handlers[i]); err != nil {
			return nil, opError("listen", network, nil, fmt.Errorf("member %d: %w", i, err))
		}
	}
	shared := cfg.ReusePort
	cfg.ReusePort = cfg.ReusePort || balance

	var socks []socket.Socket
	err := cfg.bindFirst(ctx, network, address, func(local netip.AddrPort) (err error) {
		if local.Addr().IsMulticast() {
			return fmt.Errorf("each member would get every datagram of a multicast group: %w", os.ErrInvalid)
		}
		socks, err = sys.OpenGroup(ctx, cfg.source(), n, network, local, cfg.options())
		return err
	})
	if err != nil {
		return nil, err
	}
	g := &Group{failed: make(chan struct{}), done: make(chan struct{})}
	if balance {
		g.port = sys.NewPortGroup(socks)
	}
	for i, sock := range socks {
		c := newConn(sock, cfg, network, handlers[i])
		c.group = g
		g.conns = append(g.conns, c)
	}
	g.start()
	if !shared {
		g.port.Steer()
	}
	return g, nil
}

// start starts the members. If one's Started calls runtime.Goexit, it closes them.
func (g *Group) start() {
	var running sync.WaitGroup
	var once sync.Once
	started := 0
	defer func() {
		for _, c := range g.conns[started:] {
			c.sock.Close()
		}
		if started < len(g.conns) {
			g.conns = g.conns[:started]
			g.Close()
		}
		for _, c := range g.conns {
			running.Go(func() {
				if <-c.Done(); c.Err() != nil {
					once.Do(func() { close(g.failed) })
				}
			})
		}
		go func() { running.Wait(); close(g.done) }()
	}()
	for _, c := range g.conns {
		started++
		c.start()
	}
}

// Conns returns the members in the order of their numbers, also those that have
// stopped. Changing the slice does not change the Group.
func (g *Group) Conns() []*Conn { return append([]*Conn(nil), g.conns...) }

// LocalAddr returns the address that the members are bound to, a [*net.UDPAddr].
func (g *Group) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(g.LocalAddrPort()) }

// LocalAddrPort returns the address that the members are bound to.
func (g *Group) LocalAddrPort() netip.AddrPort { return g.conns[0].LocalAddrPort() }

// Steering returns how the system chooses a member for a flow. [Info.Steering] of each
// member is the same.
func (g *Group) Steering() Steering {
	if g == nil {
		return SteeringNone
	}
	return Steering(g.port.Steering())
}

// GroupStats are the counters of a [Group].
type GroupStats struct {
	Total   Stats   // the sum, as [Stats.Add] forms it
	Members []Stats // by number
}

// Skew returns how unevenly the datagrams are distributed: what the busiest member has
// received, divided by the average of all members. 1 is even, the number of members is
// the worst; 0 means that nothing was received. A few busy flows are never even.
func (s GroupStats) Skew() float64 {
	if s.Total.Received == 0 {
		return 0
	}
	var most uint64
	for _, m := range s.Members {
		most = max(most, m.Received)
	}
	return float64(most) * float64(len(s.Members)) / float64(s.Total.Received)
}

// Stats returns the counters of all members, as [Conn.Stats] does.
func (g *Group) Stats() GroupStats {
	s := GroupStats{Members: make([]Stats, len(g.conns))}
	for i, c := range g.conns {
		s.Members[i] = c.Stats()
		if i == 0 {
			s.Total = s.Members[i] // KernelDrops may be unknown
		} else {
			s.Total.Add(s.Members[i])
		}
	}
	return s
}

// Close closes all members, as [Conn.Close] does, and returns nil. It waits for nothing;
// see Done.
func (g *Group) Close() error {
	g.port.Leave(false)
	for _, c := range g.conns {
		c.Close()
	}
	return nil
}

// Shutdown shuts all members down. First they all leave the port. From then on another
// Group on the port gets their flows. If there is none, senders learn that nobody has
// the port. Then each member handles what it has, as [Conn.Shutdown] does.
//
// If ctx is done first, Shutdown closes the members and returns an error that wraps
// ctx's.
func (g *Group) Shutdown(ctx context.Context) error {
	g.port.Leave(true)
	errs := make([]error, len(g.conns))
	var stopping sync.WaitGroup
	for i, c := range g.conns {
		stopping.Go(func() { errs[i] = c.Shutdown(ctx) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// Run waits until all members have stopped, one has stopped with an error, or ctx is
// done; then it shuts down those that still run, within grace. It returns nil after
// Close and after a complete shutdown, otherwise the errors that stopped members or
// ended the shutdown. Call it to run a Group in an errgroup.
func (g *Group) Run(ctx context.Context, grace time.Duration) error {
	select {
	case <-g.done:
		return g.Err()
	case <-g.failed:
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return errors.Join(g.Shutdown(last), g.Err())
}

// Done returns a channel that is closed when all members have stopped.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err returns the errors that members have stopped with, joined: nil while none has.
func (g *Group) Err() error {
	errs := make([]error, len(g.conns))
	for i, c := range g.conns {
		errs[i] = c.Err()
	}
	return errors.Join(errs...)
}
