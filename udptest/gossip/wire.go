package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// A message consists of its kind, the number of the probe, for a request the member to be
// probed, and any number of updates.
type kind byte

const (
	ping    kind = iota // reply with an ack
	ack                 // the reply to a ping
	request             // ping another member for the sender
)

// A state is what a node believes about a member.
type state byte

const (
	alive state = iota
	suspect
	dead
)

func (s state) String() string { return [...]string{"alive", "suspect", "dead"}[s] }

// An update is a piece of news about a member. Only the member itself increments its
// incarnation, to contradict other news about it.
type update struct {
	member      netip.AddrPort
	incarnation uint32
	state       state
}

// news reports whether u overrides old (SWIM, section 4.2).
func (u update) news(old update) bool {
	if u.state > old.state {
		return u.incarnation >= old.incarnation
	}
	return u.incarnation > old.incarnation
}

// maxUpdates is the number of updates in a datagram, which stays below 400 bytes.
const maxUpdates = 12

func appendAddr(b []byte, a netip.AddrPort) []byte {
	ip := a.Addr().AsSlice()
	b = append(append(b, byte(len(ip))), ip...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

func appendUpdate(b []byte, u update) []byte {
	b = append(b, byte(u.state))
	b = binary.BigEndian.AppendUint32(b, u.incarnation)
	return appendAddr(b, u.member)
}

var errShort = errors.New("message is truncated")

func cutAddr(b []byte) (a netip.AddrPort, rest []byte, err error) {
	if len(b) < 1 || len(b) < 1+int(b[0])+2 {
		return a, nil, errShort
	}
	n := int(b[0])
	ip, ok := netip.AddrFromSlice(b[1 : 1+n])
	if !ok {
		return a, nil, errors.New("an address of neither family")
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[1+n:])), b[1+n+2:], nil
}

func cutUpdate(b []byte) (u update, rest []byte, err error) {
	if len(b) < 5 {
		return u, nil, errShort
	}
	if u.state = state(b[0]); u.state > dead {
		return u, nil, errors.New("no such state")
	}
	u.incarnation = binary.BigEndian.Uint32(b[1:])
	u.member, rest, err = cutAddr(b[5:])
	return u, rest, err
}

// cutHeader parses the kind, the number and the member of a request, and returns the rest.
func cutHeader(b []byte) (k kind, number uint32, target netip.AddrPort, rest []byte, err error) {
	if len(b) < 5 {
		return k, 0, target, nil, errShort
	}
	k, number, rest = kind(b[0]), binary.BigEndian.Uint32(b[1:]), b[5:]
	switch k {
	case ping, ack:
	case request:
		target, rest, err = cutAddr(rest)
	default:
		err = errors.New("no such kind of message")
	}
	return k, number, target, rest, err
}

func appendHeader(b []byte, k kind, number uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(k)), number)
}
