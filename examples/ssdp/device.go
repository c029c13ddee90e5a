package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/udpkit/udp"
)

// product names the program in messages: system, UPnP version, program.
const product = "Go/1 UPnP/1.1 ssdp/1"

// mostPending bounds the answers that wait for their time.
const mostPending = 1000

// A root is a device that is announced, and its services.
type root struct {
	settings
	names   []string // upnp:rootdevice, the uuid, the types of device and services
	boot    string   // grows with each start
	pending []pending
	out     io.Writer
}

// pending is an answer that waits for its time.
type pending struct {
	at   time.Time
	to   udp.Datagram
	name string
}

func device(ctx context.Context, s settings, stdout io.Writer) error {
	if s.uuid == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // it never fails
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		s.uuid = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	if s.maxAge < 4*time.Second {
		return fmt.Errorf("max-age is too short: %v", s.maxAge)
	}
	r := &root{settings: s, out: stdout, boot: strconv.FormatInt(time.Now().Unix()&0x7fffffff, 10)}
	r.names = append([]string{"upnp:rootdevice", "uuid:" + s.uuid}, s.rest...)

	heard := udp.NewQueue(256, udp.DropNewest)
	cfg := udp.Config{ReuseAddr: true} // others on this host may have the port, too
	cfg.OnMembership = func(m *udp.MulticastConn, changed udp.Membership) {
		// An interface may have appeared. Announce the device to the hosts behind it; the others
		// just hear of it again.
		r.notify(m, changed, "ssdp:alive")
	}
	m, err := cfg.ListenMulticast(ctx, s.network(), fmt.Sprintf(":%d", s.group.Port()), heard)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.SetMulticastTTL(2); err != nil {
		return err
	}
	if err := m.Join(s.group.Addr(), s.ifs...); err != nil {
		return err
	}
	r.notify(m, m.Memberships()[0], "ssdp:alive")
	fmt.Fprintf(stdout, "uuid:%s is in %v\n", s.uuid, netip.AddrPortFrom(s.group.Addr(), m.LocalAddrPort().Port()))

	// Once more, since datagrams get lost, and then each time before the announcement expires.
	again := time.NewTimer(time.Second)
	defer again.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		select {
		case d, open := <-heard.Datagrams():
			if !open {
				return cmp.Or(heard.Err(), net.ErrClosed)
			}
			r.hear(d)
			d.Release()
		case <-due.C:
		case <-again.C:
			r.notify(m, m.Memberships()[0], "ssdp:alive")
			fmt.Fprintln(stdout, "announced again")
			again.Reset(s.maxAge/4 + atMost(s.maxAge/4))
		case <-ctx.Done():
			r.notify(m, m.Memberships()[0], "ssdp:byebye")
			return nil
		}
		r.answer(time.Now())
		if len(r.pending) > 0 {
			due.Reset(time.Until(r.pending[0].at))
		}
	}
}

// atMost returns a random duration.
func atMost(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d)+1))
	if err != nil {
		return d
	}
	return time.Duration(n.Int64())
}

// usn returns the unique service name for a name.
func (r *root) usn(name string) string {
	uuid := "uuid:" + r.uuid
	if name == uuid {
		return name
	}
	return uuid + "::" + name
}

// common are the headers that announcements and answers share.
func (r *root) common(index int) []string {
	return []string{
		"CACHE-CONTROL", fmt.Sprintf("max-age=%d", int(r.maxAge.Seconds())),
		"LOCATION", strings.ReplaceAll(r.location, "{host}", r.host(index)),
		"SERVER", product, "BOOTID.UPNP.ORG", r.boot, "CONFIGID.UPNP.ORG", "1",
	}
}

// host returns this host's address on an interface in the form of a URL, or some address if the
// interface is unknown (0) or has none.
func (r *root) host(index int) string {
	var addrs []net.Addr
	if ifi, err := net.InterfaceByIndex(index); err == nil {
		addrs, _ = ifi.Addrs()
	}
	others, _ := net.InterfaceAddrs()
	for _, a := range append(addrs, others...) {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is4() != r.group.Addr().Is4() {
			continue
		}
		if p.Addr().Is6() {
			return "[" + p.Addr().String() + "]"
		}
		return p.Addr().String()
	}
	return "localhost"
}

// notify announces the device or its end on each interface where the group is joined (sections
// 1.2.2 and 1.2.3).
func (r *root) notify(m *udp.MulticastConn, joined udp.Membership, what string) {
	at := netip.AddrPortFrom(r.group.Addr(), m.LocalAddrPort().Port())
	for _, on := range joined.On {
		if on.Err != nil {
			fmt.Fprintf(r.out, "not on %s: %v\n", on.Name, on.Err)
			continue
		}
		headers := []string{"HOST", at.String(), "NTS", what}
		if what == "ssdp:byebye" {
			headers = append(headers, "BOOTID.UPNP.ORG", r.boot, "CONFIGID.UPNP.ORG", "1")
		} else {
			headers = append(headers, r.common(on.Index)...)
		}
		for _, name := range r.names {
			b := message("NOTIFY * HTTP/1.1", append(slices.Clone(headers), "NT", name, "USN", r.usn(name))...)
			if _, err := m.SendGroup(b, at.Addr(), at.Port(), &net.Interface{Index: on.Index, Name: on.Name}); err != nil {
				fmt.Fprintln(r.out, err)
				break
			}
		}
	}
}

// hear delays the answers to a search by a random time, up to that which the search allows, so that
// not all devices answer at once.
func (r *root) hear(d udp.Datagram) {
	// A unicast search may come from another network.
	if d.To().IsValid() && d.To().Addr().WithZone("") != r.group.Addr().WithZone("") {
		return
	}
	target, wait, ok := parseSearch(d.Data)
	if !ok {
		return
	}
	delay := min(time.Duration(min(wait, 5))*time.Second, r.delay)
	d.Data = nil // it is released
	for _, name := range r.names {
		as, ok := matches(name, target)
		if !ok || len(r.pending) == mostPending {
			continue
		}
		r.pending = append(r.pending, pending{time.Now().Add(atMost(delay)), d, as})
		fmt.Fprintf(r.out, "%v searches %s\n", d.From, name)
	}
	slices.SortStableFunc(r.pending, func(a, b pending) int { return a.at.Compare(b.at) })
}

// answer sends the answers that are due (section 1.3.3).
func (r *root) answer(now time.Time) {
	for len(r.pending) > 0 && !r.pending[0].at.After(now) {
		p := r.pending[0]
		r.pending = r.pending[1:]
		b := message("HTTP/1.1 200 OK", append(r.common(p.to.IfIndex()),
			"DATE", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), "EXT", "", "ST", p.name, "USN", r.usn(p.name))...)
		if err := p.to.Reply(b); err != nil {
			fmt.Fprintln(r.out, err)
		}
	}
}
