package udp_test

import (
	"errors"
	"net"
	"net/netip"
)

func (s *scripted) Peer() netip.AddrPort          { return netip.AddrPort{} }
func (s *scripted) Reconcile() error              { return nil }
func (s *scripted) Rebinds() uint64               { return 0 }
func (s *scripted) Detach() (*net.UDPConn, error) { return nil, errors.ErrUnsupported }
func (s *scripted) StopIntake()                   {}
