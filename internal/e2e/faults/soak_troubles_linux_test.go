package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/internal/netns"
	"github.com/udpkit/udp/internal/sockettest"
)

// destroy destroys random sockets, servers and those connected to them, if ss(8) and the kernel
// can do that.
func (s *soak) destroy(left, right *netns.NS) {
	if _, err := exec.LookPath("ss"); err != nil {
		return
	}
	for !s.stopped() {
		s.rest(300 * time.Millisecond)
		_, at := s.peer(false)
		for _, kill := range []struct {
			ns   *netns.NS
			side string
		}{{right, "sport"}, {left, "dport"}} {
			if out, err := kill.ns.Try("ss", "-K", "-uanH", kill.side, "=", fmt.Sprint(":", at.Port())); err != nil {
				s.t.Errorf("ss -K: %v: %s", err, out)
				return
			}
		}
	}
}

// recreate removes a device and creates it again. Each time a socket that is bound to it receives
// datagrams again.
func (s *soak) recreate(left, right *netns.NS) {
	var heard atomic.Int64
	var c *udp.Conn
	to := netip.MustParseAddr("198.51.100.1")
	for round := int64(1); !s.stopped(); round++ {
		ip := func(ns *netns.NS, args ...string) bool {
			out, err := ns.Try("ip", args...)
			if err != nil {
				s.t.Errorf("ip %v: %v: %s", args, err, out)
			}
			return err == nil
		}
		if !ip(right, "link", "add", "d0", "type", "veth", "peer", "name", "d1") {
			return
		}
		right.Move("d1", left)
		if !ip(right, "addr", "add", to.String()+"/24", "dev", "d0") || !ip(left, "addr", "add", "198.51.100.2/24", "dev", "d1") ||
			!ip(right, "link", "set", "d0", "up") || !ip(left, "link", "set", "d1", "up") {
			return
		}
		if c == nil {
			h := udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { heard.Add(1) })
			if c = s.listen(right, udp.Config{Device: "d0"}, "udp4", ":0", h); c == nil {
				return
			}
		}
		from := s.listen(left, udp.Config{}, "udp4", ":0", udp.BaseHandler{})
		if from == nil {
			return
		}
		// Until one is received, even after the end of the soak: nothing else shows that it works.
		before := heard.Load()
		for deadline := time.Now().Add(sockettest.Patience); heard.Load() == before; {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_ = from.SendContext(ctx, udp.Message{Data: []byte("x"), To: netip.AddrPortFrom(to, c.LocalAddrPort().Port())})
			cancel()
			select {
			case <-time.After(5*time.Millisecond + rand.N(5*time.Millisecond)):
			case <-c.Done():
				s.t.Error(c.Err())
				return
			}
			if time.Now().After(deadline) {
				s.t.Errorf("device %d: %v hears nothing: %+v", round, c, c.Stats())
				break
			}
		}
		s.over(from)
		s.recreated.Add(1)
		if !ip(right, "link", "del", "d0") {
			return
		}
		s.rest(100 * time.Millisecond)
	}
	s.over(c)
}
