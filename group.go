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

// Steering is how the system distributes the datagrams to a port over its sockets.
type Steering int

const (
	// SteeringNone: the port has one socket.
	SteeringNone Steering = iota

	// SteeringHash: the system hashes addresses and ports over the sockets that share
	// the port. When a socket joins or leaves, most flows move to other sockets. Linux
	// with [Config.ReusePort].
	SteeringHash

	// SteeringCBPF: a classic BPF program, which any process may attach (Linux 4.5).
	// Flows move only when their own member leaves, with one exception: while the
	// program is being replaced, for some microseconds, the leaving member receives
	// and handles datagrams of the group's last member.
	SteeringCBPF

	// SteeringEBPF: an eBPF program and a map of the sockets. Flows move only when
	// their own member leaves. It needs Linux 4.19 and CAP_BPF (CAP_SYS_ADMIN before
	// Linux 5.8).
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

// maxMembers bounds the sockets of a Group: the classic BPF program has a few
// instructions for each, and at most 4,096.
const maxMembers = 256

// Group is several sockets on one port, its members. Each has its own goroutine and
// Handler. The system distributes flows over the members. A flow is the datagrams from
// one address and port. One member receives the whole flow, in order, until that
// member leaves.
//
// A member leaves when it is shut down or closed. Its flows then move to the other
// members. The flows of the other members do not move. With Shutdown, the member first
// handles the datagrams that are queued for it, so none is lost. The methods of a
// Group may be called from any goroutine.
type Group struct {
	conns  []*Conn
	port   *sys.PortGroup // nil: one socket
	failed chan struct{}  // closed when a member stops with an error
	done   chan struct{}  // closed when all have stopped
}

// ListenGroup binds n sockets to one port and starts them, like Listen. f(i) makes the
// Handler of member i. n is at most 256; n <= 0 means GOMAXPROCS. If a socket cannot
// be bound, all are closed.
//
// On Linux the sockets have SO_REUSEPORT, and a BPF program steers flows: see [Steering]
// and [Group.Steering]. On other systems, in gVisor, where SO_REUSEPORT is rejected and on
// a simulated network there is a single socket, with f(0). Whether several sockets are
// faster depends on the Handlers and the network device: see docs/groups.md.
//
// Another process of the same user can take over from a Group without losing a
// datagram. It calls ListenGroup for the same port and the same n, and then the old
// Group is shut down. Member i of the new Group takes over the flows of member i of
// the old one. With SteeringCBPF that happens when the old member leaves, with
// SteeringEBPF when ListenGroup returns.
//
// With Config.ReusePort, the Group shares the port with the sockets of other programs
// permanently. No BPF program is attached, and flows are distributed over all sockets
// of the port (SteeringHash). When a member leaves, nothing is lost, but most flows
// move.
func (cfg Config) ListenGroup(ctx context.Context, n int, network, address string, f func(i int) Handler) (*Group, error) {
	balance := cfg.Network == nil && sys.Balances()
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	switch {
	case f == nil:
		return nil, opError("listen", network, nil, fmt.Errorf("the function that makes Handlers is nil: %w", os.ErrInvalid))
	case n > maxMembers:
		return nil, opError("listen", network, nil,
			fmt.Errorf("a group of %d sockets, at most %d are possible: %w", n, maxMembers, os.ErrInvalid))
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
	err := cfg.withAddress(ctx, "listen", network, address, notLocal, func(local netip.AddrPort) (err error) {
		if local.Addr().IsMulticast() {
			return fmt.Errorf("each member would get every datagram of a multicast group, use ListenMulticast: %w", os.ErrInvalid)
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

// start starts the members. If Started of one calls runtime.Goexit, it closes all.
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

// Conns returns the members by number, including those that have stopped. The caller
// may change the slice.
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
	Total   Stats   // the sum, by [Stats.Add]
	Members []Stats // by number
}

// Skew measures how unevenly the datagrams are distributed: the number that the
// busiest member has received, divided by the average of all members. 1 is even; the
// number of members is the maximum; 0 means that nothing was received. With only a few
// busy flows the distribution is rarely even.
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

// Close closes all members, like [Conn.Close], and returns nil. It does not wait; see
// Done.
func (g *Group) Close() error {
	g.port.Leave(false)
	for _, c := range g.conns {
		c.Close()
	}
	return nil
}

// Shutdown shuts all members down. First they all leave the port, and another Group on
// the port gets their flows. If there is none, senders get "port unreachable". Then
// each member handles its queued datagrams, as [Conn.Shutdown] does.
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
// done. Then it shuts down the members that still run, within grace. It returns nil
// after Close and after a complete shutdown, otherwise the errors that stopped members
// or ended the shutdown. It suits an errgroup.
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

// Err returns the errors that stopped members, joined, or nil if there are none.
func (g *Group) Err() error {
	errs := make([]error, len(g.conns))
	for i, c := range g.conns {
		errs[i] = c.Err()
	}
	return errors.Join(errs...)
}
