// Package socket is the seam between the toolkit and what carries its
// datagrams: the kernel (package sys) or a simulated network (package udptest).
// Everything above it is the same for both.
package socket

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/udpkit/udp/internal/buffer"
)

// A Network is where sockets come from.
type Network interface {
	// Open binds a socket. Network is udp, udp4 or udp6; local may have the zero
	// Addr, which is the wildcard of the network (of both families for udp).
	Open(ctx context.Context, network string, local netip.AddrPort, o Options) (Socket, error)

	// LookupIP resolves a host name to every address it has; network is ip, ip4 or ip6.
	LookupIP(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Interfaces lists the interfaces there are now.
	Interfaces() ([]Interface, error)

	// Watch calls changed, from a goroutine of its own, whenever Interfaces may
	// give another answer, until stop is called. After stop has returned changed
	// is not called any more.
	Watch(changed func()) (stop func(), err error)
}

// An Interface is a network interface with its addresses.
type Interface struct {
	net.Interface
	Addrs []netip.Prefix
	// Generation differs between interfaces that had the same index one after another.
	// Emptied changes when the interface loses its memberships. 0 where unknown.
	Generation, Emptied uint64
	// Tentative: duplicate address detection (RFC 4862) has not yet finished for any of
	// the IPv6 addresses, so none can be sent from. False where unknown.
	Tentative bool
}

// MinMTU is the shortest MTU of a link that can carry IPv6 (RFC 8200, 5) or IPv4
// (RFC 791, 3.2), bytes.
func MinMTU(v6 bool) int {
	if v6 {
		return 1280
	}
	return 68
}

// Options are what Open needs to know before it binds.
type Options struct {
	ReadBuffer, WriteBuffer int // bytes, 0: the system's default
	Broadcast               bool
	ReuseAddr, ReusePort    bool
	NoOffload               bool // no segmented sends, no coalesced packets
	Timestamps              bool
	PeerErrors              bool // ICMP reports while unconnected too
	Pulled                  bool // the socket is a Pulled; reports come with PeerErrors only
	Device                  string
	Mark                    uint32
	TrafficClass, TTL       uint8 // 0: the system's default
	FreeBind, Transparent   bool
	MTUDiscovery            MTUDiscovery
	BusyPoll                bool
	TransmitTimestamps      bool // Reports with Sent
	ControlMessages         bool // Packet.Control
	Control                 func(network, address string, c syscall.RawConn) error
}

// MTUDiscovery is a way of path MTU discovery. Its values are those of
// udp.MTUDiscovery.
type MTUDiscovery int

const (
	MTUDefault MTUDiscovery = iota
	MTUDo
	MTUProbe
	MTUOmit
)

// A Packet is what one message of a read brought: a datagram, or, when Segment is
// set, a coalesced packet of datagrams of Segment bytes each (the last may be shorter).
type Packet struct {
	Data              []byte         // lies in Buf
	Buf               *buffer.Buffer // the socket's reference; the Sink takes its own
	Segment           int
	From              netip.AddrPort // never 4-in-6; a zone is a name where it has one
	To                netip.AddrPort // address invalid where unknown; port 0: that of the socket
	Own               bool           // To is an address of ours that a reply can leave from
	Cut               int            // bytes after Data, for which the caller of Pull had no room
	Truncated         bool           // Data is not all
	ControlTruncated  bool           // its segment size, To or TrafficClass was lost: it must not be handled
	IfIndex           int
	TTL, TrafficClass uint8 // of the IP header, 0 where unknown
	Time              time.Time
	Control           []byte // with Options.ControlMessages: a copy of all that came
}

// ErrFamily says that an address is not of the family of a socket. Package udp exports it.
var ErrFamily = errors.New("udp: address family does not fit the socket")

// Datagrams returns how many datagrams p is.
func (p *Packet) Datagrams() int {
	if len(p.Data) == 0 {
		return 1
	}
	return datagrams(len(p.Data), p.Segment)
}

// Payloads are those of the datagrams of p.
func (p *Packet) Payloads() iter.Seq[[]byte] { return payloads(p.Data, p.Segment) }

// A Report is one ICMP message about a datagram that was sent. Where a system
// reports only the error, the other fields are zero.
type Report struct {
	Peer       netip.AddrPort
	Offender   netip.Addr
	Type, Code uint8
	MTU        int
	Payload    []byte // only valid in the call
	Err        error  // a syscall.Errno

	// With Sent it is no ICMP message, but says when the datagram of that Number left.
	Sent   time.Time
	Number uint32
}

// A Message is one datagram to send. While the socket is connected To is
// invalid; otherwise it is valid and of the socket's family, never 4-in-6.
type Message struct {
	Data    []byte
	To      netip.AddrPort
	From    netip.Addr // source address; invalid: the system chooses
	IfIndex int        // outgoing interface; 0: the system chooses
	TTL     uint8      // TTL or hop limit; 0: the socket's
	// TrafficClass is the byte of the IP header (TOS), 0 the socket's. An ECN other
	// than 0 replaces its two lower bits, whether it is the message's or the socket's.
	TrafficClass, ECN uint8
	// Control is control messages in the system's form, after those of the other fields.
	Control []byte
	// Segment is set when Data is several datagrams of Segment bytes each, side by
	// side, of which the last may be shorter. Only SendBatch takes one, and only
	// where Info.Segments is more than 1.
	Segment int
}

// SameHeader reports whether two messages differ in nothing but their payload, so that
// they may leave as segments of one send.
func (m *Message) SameHeader(o *Message) bool {
	return m.To == o.To && m.From == o.From && m.IfIndex == o.IfIndex &&
		m.TTL == o.TTL && m.TrafficClass == o.TrafficClass && m.ECN == o.ECN &&
		len(m.Control)+len(o.Control) == 0
}

// Datagrams returns how many datagrams m is.
func (m *Message) Datagrams() int { return datagrams(len(m.Data), m.Segment) }

// Payloads are those of the datagrams of m.
func (m *Message) Payloads() iter.Seq[[]byte] { return payloads(m.Data, m.Segment) }

// datagrams returns how many of size bytes are in n bytes; size 0: there is one.
func datagrams(n, size int) int {
	if size == 0 {
		return 1
	}
	return (n + size - 1) / size
}

// payloads are those of the datagrams in data, which are size bytes each; 0: there is one.
func payloads(data []byte, size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for size > 0 && len(data) > size {
			if !yield(data[:size:size]) {
				return
			}
			data = data[size:]
		}
		yield(data[:len(data):len(data)])
	}
}

// Action is what a Sink wants of a reader that was woken.
type Action int

const (
	Continue Action = iota // continue reading
	Soon                   // read what there is, then ask again
	Drain                  // take what is queued now, then return
	Stop                   // return
)

// A Sink takes what Serve reads. All its methods are called on the goroutine of
// Serve. They return false to make Serve return.
type Sink interface {
	Packets(ps []Packet) bool
	Reports(rs []Report) bool
	Fault(err error) bool // a read failed; when it returns true, read again
	Woken() Action        // after Wake
}

// A Socket is one bound UDP socket. Its methods may be called from any
// goroutine, and from inside a Sink; Serve is called once at a time.
//
// Errors are what the system said (*os.SyscallError around a syscall.Errno
// for the kernel), net.ErrClosed, or os.ErrDeadlineExceeded; the layer above
// wraps them in *net.OpError.
type Socket interface {
	// Serve reads until a method of the Sink returns false, and then returns nil, or
	// until the socket is closed.
	Serve(Sink) error
	// Wake makes Serve call Woken soon, also when it is called before Serve.
	Wake()
	// StopIntake makes the kernel reject datagrams that arrive from now on, where the
	// system supports it. Queued ones can still be read, and the socket can send. In a
	// SO_REUSEPORT group the socket leaves the group, whose other members get its
	// flows at once.
	StopIntake()
	// Discard discards the datagrams that are queued for reading, and returns their
	// number. None arrives after it. Where a system cannot do that, it returns 0.
	Discard() int

	// Send sends one datagram. It waits for room until the write deadline.
	Send(m Message) error
	// SendBatch sends in order and returns how many datagrams the system accepted; err
	// is about the next one. With wait it waits for room until the write deadline.
	// Without wait it ignores the deadline, waits neither for room nor for another
	// sender, and fails with EAGAIN when there is no room. Windows, Plan 9 and AIX
	// always wait.
	SendBatch(ms []Message, wait bool) (int, error)
	SetWriteDeadline(t time.Time) error
	// ErrorPending reports whether a send may still return the error of an older datagram,
	// so that an error is not surely the datagram's own.
	ErrorPending() bool

	// LostReports returns the number of ICMP errors for which Reports was not called:
	// too many waited, or the socket was closed. It may be called after Close.
	LostReports() uint64

	// MTU returns the known MTU of the path to an address, while connected to the
	// peer: bytes with the IP header, 0 if unknown.
	MTU(to netip.AddrPort) int

	Local() netip.AddrPort
	// Interfaces lists the interfaces that the socket can use.
	Interfaces() ([]Interface, error)
	// Zone returns the name of the interface that the zone of an IPv6 address
	// means, which may be its index, and false when there is none.
	Zone(zone string) (name string, ok bool)
	// Connect sets the peer and returns it as the system has it, which is the source
	// of its datagrams: the zone may differ, and an eBPF program of the system may
	// have replaced the address. Disconnect removes the peer. Both keep the port. If
	// Connect fails the socket is unchanged.
	Connect(peer netip.AddrPort) (netip.AddrPort, error)
	Disconnect() error
	// Peer returns the peer as the system has it. It is invalid without a peer.
	Peer() netip.AddrPort
	// Reconcile compares the actual port, peer, interface and source address with the
	// desired ones, and repairs differences. Call it when the addresses of the host
	// have changed. Sends and reads that fail do it themselves. A read that finds the
	// socket destroyed beyond repair ends Serve with an error that wraps ECONNABORTED.
	Reconcile() error
	// Rebinds counts repairs. It may be called after Close.
	Rebinds() uint64

	// Join and Leave change one membership on one interface; with a valid source
	// it is a source-specific one.
	Join(group, source netip.Addr, ifindex int) error
	Leave(group, source netip.Addr, ifindex int) error
	// Block makes the kernel drop one source of a joined group, or ends that.
	Block(group, source netip.Addr, ifindex int, on bool) error
	// MulticastOption sets one option of the family v6 or not; a MulticastOption
	// is read with MulticastValue.
	SetMulticast(o MulticastOption, v6 bool, value int) error
	Multicast(o MulticastOption, v6 bool) (int, error)

	Drops() int64 // datagrams dropped in the receive buffer so far; -1: unknown
	Info() Info
	Segments() int // of Info, which costs more
	// Limits are what takes system calls to find out.
	Limits() Limits
	SyscallConn() (syscall.RawConn, error)
	// Detach ends the socket as Close does, after Serve has returned, but hands it out
	// with its port, its peer, its memberships and what is queued for reading. Where
	// there is no net.UDPConn it fails with an error that wraps errors.ErrUnsupported;
	// when it fails the socket is as it was.
	Detach() (*net.UDPConn, error)
	Close() error
}

// MulticastOption names a socket option of multicast sending.
type MulticastOption int

const (
	MulticastTTL       MulticastOption = iota // hop limit, 0 to 255
	MulticastLoopback                         // 0 or 1
	MulticastInterface                        // interface index, 0: the system's choice
)

// Limits are the sizes of a socket's buffers, bytes, and how many messages a system
// call takes at most.
type Limits struct{ ReadBuffer, WriteBuffer, Batch int }

// Info is what a socket has been granted and can do.
type Info struct {
	Family          Family
	PacketInfo      bool // Packet.To is known, Message.From is obeyed
	ECN             bool // Packet.ECN is known, Message.ECN is obeyed
	ErrorQueue      bool // Reports come with all their fields
	MulticastFilter bool // the system itself keeps groups away that were not joined
	Timestamps      bool
	GRO             bool
	Segments        int  // datagrams in one segmented send at most; below 2: not in use
	Device          bool // bound to one interface, by name: Reconcile follows that
	PortKept        bool // no moment of Connect and Disconnect leaves the port to others
}

// Family says which addresses a socket can send to.
type Family int

const (
	IPv4 Family = 1 << iota
	IPv6
	Dual = IPv4 | IPv6
)

// Has reports whether a socket of family f can send to a.
func (f Family) Has(a netip.Addr) bool {
	if a.Is4() {
		return f&IPv4 != 0
	}
	return f&IPv6 != 0
}
