package send

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/udpkit/udp/internal/mcast"
	"github.com/udpkit/udp/internal/socket"
	"github.com/udpkit/udp/internal/stats"
	"github.com/udpkit/udp/internal/sys"
)

// ErrTooLarge is wrapped by the errors of Config.TooLarge. Package udp exports it.
var ErrTooLarge = errors.New("udp: datagram too large")

// Check converts a message to the form that the socket with that peer needs, or counts
// and returns the error why it cannot be sent. It makes no system call.
func (s *Sender) Check(m *socket.Message, peer *netip.AddrPort) error {
	err := net.ErrClosed // takes precedence over all other errors
	if !s.Life.Closed() {
		err = s.Address(m, peer)
	}
	if err != nil {
		s.CountFailure(err)
	}
	return err
}

// Address is Check without counting, and without the check whether the socket is
// closed.
func (s *Sender) Address(m *socket.Message, peer *netip.AddrPort) error {
	if m.IfIndex == 0 && s.Stranded(m.To, peer) {
		return mcast.ErrStranded
	}
	if peer != nil {
		if m.To.IsValid() && m.To != *peer {
			if to, err := s.Named(Unmap(m.To)); err != nil || to != *peer {
				return os.NewSyscallError("sendto", sys.EISCONN)
			}
		}
		m.To, m.From = netip.AddrPort{}, netip.Addr{}
		return s.checkSize(len(m.Data), peer.Addr())
	}
	m.To = Unmap(m.To)
	to := m.To.Addr()
	switch {
	case !to.IsValid():
		return &net.AddrError{Err: "missing address"}
	case m.To.Port() == 0:
		return &net.AddrError{Err: "cannot send to port 0"} // the address is the net.OpError's
	case to.IsUnspecified():
		// The kernel would send it to the loopback address.
		return &net.AddrError{Err: "cannot send to the unspecified address"}
	}
	if m.From.IsValid() {
		if err := s.checkSource(m); err != nil {
			return err
		}
	}
	if !s.Family.Has(to) {
		return socket.ErrFamily
	}
	if _, err := s.Named(m.To); err != nil {
		return err
	}
	return s.checkSize(len(m.Data), to)
}

// checkSource checks the source address of a message whose destination is valid.
func (s *Sender) checkSource(m *socket.Message) error {
	m.From = m.From.Unmap()
	if m.From.Is4() != m.To.Addr().Is4() {
		return socket.ErrFamily
	}
	// A link-local source chooses the interface if nothing else does.
	switch zone := m.From.Zone(); {
	case zone == "":
	case m.IfIndex != 0, m.To.Addr().Zone() != "", !m.From.IsLinkLocalUnicast():
		m.From = m.From.WithZone("")
	default:
		if _, ok := s.Socket.Zone(zone); !ok {
			return noInterface(zone)
		}
	}
	return nil
}

// Named replaces a zone that is an interface's index by its name. The zone of a
// received datagram's sender is a name, and the two are compared. If there is no
// such interface it is an error, because the kernel would use another interface.
func (s *Sender) Named(to netip.AddrPort) (netip.AddrPort, error) {
	zone := to.Addr().Zone()
	if zone == "" {
		return to, nil
	}
	name, ok := s.Socket.Zone(zone)
	if !ok {
		return to, noInterface(zone)
	}
	return netip.AddrPortFrom(to.Addr().WithZone(name), to.Port()), nil
}

func noInterface(zone string) error { return fmt.Errorf("no interface %q: %w", zone, sys.ENODEV) }

// Unmap returns a 4-in-6 address as the IPv4 address that it stands for.
func Unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Payloads can't be longer than this: the length field of UDP counts its own
// header of 8 bytes (RFC 768), that of IPv4 also the 20 of IPv4 (RFC 791).
const (
	maxPayloadIPv4 = 65535 - 8 - 20
	maxPayloadIPv6 = 65535 - 8
)

func (s *Sender) checkSize(n int, to netip.Addr) error {
	limit := maxPayloadIPv6
	if to.Is4() {
		limit = maxPayloadIPv4
	}
	if n > limit {
		return s.TooLarge(n, limit, 0)
	}
	return nil
}

// Headers of UDP (RFC 768) and of IP without options (RFC 791, RFC 8200), bytes.
const (
	headerIPv4 = 20 + 8
	headerIPv6 = 40 + 8
)

// fits returns the MTU of the path of m and the longest payload that fits, 0 if unknown.
func (s *Sender) fits(m *socket.Message) (payload, mtu int) {
	to := m.To.Addr()
	if peer := s.Peer.Load(); peer != nil {
		to = peer.Addr()
	}
	header := headerIPv6
	if to.Is4() {
		header = headerIPv4
	}
	mtu = s.Socket.MTU(m.To)
	return max(0, mtu-header), mtu
}

// CountFailure counts a datagram that was not sent.
func (s *Sender) CountFailure(err error) {
	f := stats.FailOther
	switch class := sys.Classify(err); {
	case errors.Is(err, ErrTooLarge):
		f = stats.FailTooLarge
	case errors.Is(err, socket.ErrFamily), isAddrError(err):
		f = stats.FailFamily
	case class == sys.NoBuffers:
		f = stats.FailNoBuffers
	case errors.Is(err, os.ErrPermission): // EACCES here is no ICMP error: see Again
		f = stats.FailDenied
	case class == sys.Unreachable, class == sys.Report, class == sys.Down:
		f = stats.FailUnreachable
	case class == sys.Deadline, isContextError(err):
		f = stats.FailDeadline
	case class == sys.Closed:
		f = stats.FailClosed
	}
	s.Stats.Failed[f].Add(1)
}

func isAddrError(err error) bool {
	_, ok := errors.AsType[*net.AddrError](err)
	return ok
}
