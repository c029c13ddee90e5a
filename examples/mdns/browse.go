package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
)

// mostInstances bounds the memory that the network can make browse use.
const mostInstances = 1000

// A browser collects the records about the services of one type.
type browser struct {
	kind      dnsmessage.Name
	instances map[string]*instance // by folded name
	hosts     map[string]*host     // those that instances have named
	found     int
	out       io.Writer
}

// An instance is a service, as far as it is known.
type instance struct {
	name  dnsmessage.Name
	where *dnsmessage.SRVResource
	text  []string // nil: not known
	shown string
	asked bool
}

type host struct {
	name  dnsmessage.Name
	addrs []netip.Addr
	asked bool
}

func newBrowser(kind dnsmessage.Name, out io.Writer) *browser {
	return &browser{kind: kind, instances: map[string]*instance{}, hosts: map[string]*host{}, out: out}
}

// browse receives everything that is sent to the groups: answers to its own questions and to those
// of others, announcements and goodbyes.
func browse(ctx context.Context, s settings, stdout io.Writer) error {
	kind, err := serviceType(s.rest[0])
	if err != nil {
		return err
	}
	heard := udp.NewQueue(256, udp.DropNewest)
	all, err := open(ctx, udp.Config{}, s, true, func(netip.Addr) udp.Handler { return heard })
	if err != nil {
		return err
	}
	defer all.close()
	ctx, cancel := s.waiting(ctx)
	defer cancel()

	began := time.Now()
	b := newBrowser(kind, stdout)
	again := newPause()
	defer again.Stop()
	for s.count == 0 || b.found < s.count {
		var ask []dnsmessage.Question
		select {
		case <-again.C:
			again.next()
			ask = append(questions(kind, dnsmessage.TypePTR), b.missing(true)...)
		case d, open := <-heard.Datagrams():
			if !open { // no socket is left
				return cmp.Or(heard.Err(), net.ErrClosed)
			}
			var m dnsmessage.Message
			// Only responders send from this port (RFC 6762, section 6).
			if m.Unpack(d.Data) == nil && m.Response && d.From.Port() == s.port {
				b.take(&m)
				ask = b.missing(false)
			}
			d.Release()
		case <-ctx.Done():
			if b.found == 0 || s.count > 0 {
				return fmt.Errorf("%d services in %v", b.found, time.Since(began).Round(10*time.Millisecond))
			}
			return nil
		}
		if len(ask) == 0 {
			continue
		}
		packed, err := (&dnsmessage.Message{Questions: ask}).Pack()
		if err == nil {
			err = all.send(packed, s.ifs)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take stores the records of a message, and shows what is new.
func (b *browser) take(m *dnsmessage.Message) {
	records := slices.Concat(m.Answers, m.Additionals)
	// Each kind of record is for names that the kind before it has.
	for _, r := range records {
		if body, ok := r.Body.(*dnsmessage.PTRResource); ok && same(r.Header.Name, b.kind) {
			b.takeInstance(body.PTR, r.Header.TTL)
		}
	}
	for _, r := range records {
		i := b.instances[fold(r.Header.Name)]
		if i == nil || r.Header.TTL == 0 {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.SRVResource:
			i.where = body
			if b.hosts[fold(body.Target)] == nil && len(b.hosts) < mostInstances {
				b.hosts[fold(body.Target)] = &host{name: body.Target}
			}
		case *dnsmessage.TXTResource:
			i.text = append([]string{}, body.TXT...)
		}
	}
	for _, r := range records {
		h := b.hosts[fold(r.Header.Name)]
		if h == nil {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			h.take(netip.AddrFrom4(body.A), r.Header.TTL)
		case *dnsmessage.AAAAResource:
			h.take(netip.AddrFrom16(body.AAAA), r.Header.TTL)
		}
	}
	b.show()
}

func (b *browser) takeInstance(name dnsmessage.Name, ttl uint32) {
	i := b.instances[fold(name)]
	switch {
	case ttl == 0 && i != nil:
		if i.shown != "" {
			fmt.Fprintln(b.out, "-", clean(i.name.String()))
		}
		delete(b.instances, fold(name))
	case ttl != 0 && i == nil && len(b.instances) < mostInstances:
		b.instances[fold(name)] = &instance{name: name}
	}
}

func (h *host) take(a netip.Addr, ttl uint32) {
	h.addrs = slices.DeleteFunc(h.addrs, func(other netip.Addr) bool { return other == a })
	if ttl != 0 && len(h.addrs) < 100 {
		h.addrs = append(h.addrs, a)
		slices.SortFunc(h.addrs, netip.Addr.Compare)
	}
}

// show writes a line for each instance that is complete, and another one after it changed.
func (b *browser) show() {
	for _, key := range slices.Sorted(maps.Keys(b.instances)) {
		i := b.instances[key]
		if i.where == nil || i.text == nil {
			continue
		}
		h := b.hosts[fold(i.where.Target)]
		if h == nil || len(h.addrs) == 0 {
			continue
		}
		line := clean(fmt.Sprintf("+ %v at %v:%d %v %q", i.name, i.where.Target, i.where.Port, h.addrs, i.text))
		if line == i.shown {
			continue
		}
		if i.shown == "" {
			b.found++
		}
		i.shown = line
		fmt.Fprintln(b.out, line)
	}
}

// missing returns the open questions: all, or those not yet asked. It returns only as many as fit
// into one datagram; the others follow.
func (b *browser) missing(all bool) (ask []dnsmessage.Question) {
	const most = 8
	for _, key := range slices.Sorted(maps.Keys(b.instances)) {
		if i := b.instances[key]; len(ask) < most && (i.where == nil || i.text == nil) && (all || !i.asked) {
			i.asked = true
			ask = append(ask, questions(i.name, dnsmessage.TypeSRV, dnsmessage.TypeTXT)...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.hosts)) {
		if h := b.hosts[key]; len(ask) < most && len(h.addrs) == 0 && (all || !h.asked) {
			h.asked = true
			ask = append(ask, questions(h.name, dnsmessage.TypeA, dnsmessage.TypeAAAA)...)
		}
	}
	return ask
}

func fold(n dnsmessage.Name) string { return strings.ToLower(n.String()) }
