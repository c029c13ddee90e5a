//go:build unix && !aix && (udpbasic || !linux)

package sys

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// sendCall is the state of one sendmsg. Calls are pooled, because a function for RawConn
// allocates.
type sendCall struct {
	data, oob []byte
	to        netip.AddrPort
	sa4       unix.SockaddrInet4
	sa6       unix.SockaddrInet6
	err       error
	write     func(fd uintptr) bool // s.send, made once
	now       func(fd uintptr)
}

var sendCalls = sync.Pool{New: func() any {
	s := new(sendCall)
	s.write = s.send
	s.now = func(fd uintptr) { s.send(fd) }
	return s
}}

// send returns false if there is no room.
func (s *sendCall) send(fd uintptr) bool {
	sa := s.sockaddr(int(fd))
	for {
		_, s.err = unix.SendmsgN(int(fd), s.data, s.oob, sa, unix.MSG_DONTWAIT)
		if s.err != unix.EINTR {
			return s.err != unix.EAGAIN
		}
	}
}

func (s *sendCall) sockaddr(fd int) unix.Sockaddr {
	switch {
	case !s.to.IsValid():
		return nil
	case inet6(fd):
		s.sa6 = unix.SockaddrInet6{Addr: s.to.Addr().As16(), Port: int(s.to.Port())}
		if zone := s.to.Addr().Zone(); zone != "" {
			s.sa6.ZoneId = zoneIndex(uintptr(fd), zone)
		}
		return &s.sa6
	}
	s.sa4 = unix.SockaddrInet4{Addr: s.to.Addr().As4(), Port: int(s.to.Port())}
	return &s.sa4
}

// sendmsg is write for what package net can't do: control messages on a connected socket, and a
// send that returns EAGAIN instead of waiting for room. The latter uses RawConn.Control, because
// RawConn.Write would wait for a sender that waits.
func (c *Conn) sendmsg(data, oob []byte, to netip.AddrPort, wait bool) error {
	s := sendCalls.Get().(*sendCall)
	s.data, s.oob, s.to, s.err = data, oob, to, nil
	var err error
	if wait {
		err = c.rc.Write(s.write)
	} else {
		err = c.rc.Control(s.now)
	}
	if err == nil {
		err = sysErr("sendmsg", s.err)
	}
	s.data, s.oob = nil, nil
	sendCalls.Put(s)
	return err
}
