package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
)

// types has the names of the types that query supports.
var types = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "PTR": dnsmessage.TypePTR,
	"SRV": dnsmessage.TypeSRV, "TXT": dnsmessage.TypeTXT, "ANY": dnsmessage.TypeALL,
}

// query asks as a client of ordinary DNS does. It needs no group, because the answers are sent to
// its own port (RFC 6762, section 5.1).
func query(ctx context.Context, s settings, stdout io.Writer) error {
	name, err := local(s.rest[0])
	if err != nil {
		return err
	}
	kinds := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	if s.kind != "" {
		kind, ok := types[strings.ToUpper(s.kind)]
		if !ok {
			return fmt.Errorf("unknown type %q", s.kind)
		}
		kinds = []dnsmessage.Type{kind}
	}
	ask := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(rand.Uint32())}, Questions: questions(name, kinds...)}
	b, err := ask.Pack()
	if err != nil {
		return err
	}
	answers := udp.NewQueue(64, udp.DropNewest)
	all, err := open(ctx, udp.Config{}, s, false, func(netip.Addr) udp.Handler { return answers })
	if err != nil {
		return err
	}
	defer all.close()
	ctx, cancel := s.waiting(ctx)
	defer cancel()

	began := time.Now()
	seen := map[string]bool{}
	again := newPause()
	defer again.Stop()
	for s.count == 0 || len(seen) < s.count {
		select {
		case <-again.C:
			again.next()
			if err := all.send(b, s.ifs); err != nil {
				return err
			}
		case d, open := <-answers.Datagrams():
			if !open { // no socket is left
				return cmp.Or(answers.Err(), net.ErrClosed)
			}
			var m dnsmessage.Message
			if err := m.Unpack(d.Data); err == nil && m.Response && m.ID == ask.ID {
				for _, r := range m.Answers {
					if !slices.ContainsFunc(ask.Questions, func(q dnsmessage.Question) bool { return asks(q, r.Header) }) {
						continue
					}
					if line := show(r); !seen[line] {
						seen[line] = true
						fmt.Fprintf(stdout, "%s, says %v\n", line, d.From)
					}
				}
			}
			d.Release()
		case <-ctx.Done():
			if len(seen) == 0 || s.count > 0 {
				return fmt.Errorf("%d answers in %v", len(seen), time.Since(began).Round(10*time.Millisecond))
			}
			return nil
		}
	}
	return nil
}

func questions(name dnsmessage.Name, kinds ...dnsmessage.Type) (all []dnsmessage.Question) {
	for _, kind := range kinds {
		all = append(all, dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET})
	}
	return all
}

// clean makes text from another host safe for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// show returns a record as a line.
func show(r dnsmessage.Resource) string {
	value := ""
	switch body := r.Body.(type) {
	case *dnsmessage.AResource:
		value = netip.AddrFrom4(body.A).String()
	case *dnsmessage.AAAAResource:
		value = netip.AddrFrom16(body.AAAA).String()
	case *dnsmessage.PTRResource:
		value = body.PTR.String()
	case *dnsmessage.SRVResource:
		value = fmt.Sprintf("%v:%d", body.Target, body.Port)
	case *dnsmessage.TXTResource:
		value = fmt.Sprintf("%q", body.TXT)
	}
	return clean(fmt.Sprintf("%v %s %s", r.Header.Name, strings.TrimPrefix(r.Header.Type.String(), "Type"), value))
}

// A pause fires when to ask: at once, after a second, and then after twice as long each time, up to
// an hour (section 5.2).
type pause struct {
	*time.Timer
	after time.Duration
}

func newPause() *pause { return &pause{time.NewTimer(0), time.Second} }

func (p *pause) next() {
	p.Reset(p.after)
	p.after = min(2*p.after, time.Hour)
}
