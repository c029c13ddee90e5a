package main

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// topBit of a class means, in a question, that the answer may be unicast, and in an answer, that it
// replaces earlier records of its name (RFC 6762, sections 5.4 and 10.2).
const topBit = 1 << 15

const (
	hostTTL  = 120  // seconds, of what depends on the host (section 10)
	otherTTL = 4500 // of the rest
)

// enumeration is the name whose answers are types of services (RFC 6763, section 9).
var enumeration = dnsmessage.MustNewName("_services._dns-sd._udp.local.")

// A service is what announce announces.
type service struct {
	kind     dnsmessage.Name // _http._tcp.local.
	instance dnsmessage.Name // Name._http._tcp.local.
	host     dnsmessage.Name // host.local.
	port     uint16
	text     []string
}

func newService(s settings) (service, error) {
	var v service
	host, _, _ := strings.Cut(s.host, ".")
	name := s.name
	if name == "" {
		name = host
	}
	port, err := strconv.ParseUint(s.rest[1], 10, 16)
	if err != nil {
		return v, fmt.Errorf("no port: %w", err)
	}
	if strings.Contains(name, ".") {
		return v, fmt.Errorf("the name %q has a dot", name)
	}
	v.port, v.text = uint16(port), s.rest[2:]
	if len(v.text) == 0 {
		v.text = []string{""} // there is no record without a string (RFC 6763, section 6.1)
	}
	var errs [3]error
	v.kind, errs[0] = serviceType(s.rest[0])
	v.instance, errs[1] = local(name + "." + s.rest[0])
	v.host, errs[2] = local(host)
	if err := errors.Join(errs[:]...); err != nil {
		return v, err
	}
	// It fails if something is too long, or a label is empty.
	_, err = response(v.records(nil)).Pack()
	return v, err
}

// local returns a name in the domain local, which names of one label and names of services may
// omit.
func local(name string) (dnsmessage.Name, error) {
	short := short(name)
	if short == strings.TrimSuffix(name, ".") && strings.Contains(short, ".") && !ofService(short) {
		return dnsmessage.Name{}, fmt.Errorf("%q is not in the domain local, which is all that multicast DNS knows: is it %s.local?", name, short)
	}
	return dnsmessage.NewName(short + ".local.")
}

// serviceType is local for the type of a service.
func serviceType(name string) (dnsmessage.Name, error) {
	if kind := short(name); !strings.HasPrefix(kind, "_") || !ofService(kind) {
		return dnsmessage.Name{}, fmt.Errorf("%q is no service type: it looks like _http._tcp", name)
	}
	return local(name)
}

// short returns a name without the domain local.
func short(name string) string {
	name = strings.TrimSuffix(name, ".")
	if at := len(name) - len(".local"); at >= 0 && strings.EqualFold(name[at:], ".local") {
		return name[:at]
	}
	return name
}

// ofService reports whether a name is that of a service or of a type.
func ofService(short string) bool {
	short = strings.ToLower(short)
	return strings.HasSuffix(short, "._udp") || strings.HasSuffix(short, "._tcp")
}

// records returns all records of the service, with these addresses of the host.
func (v service) records(addrs []netip.Addr) []dnsmessage.Resource {
	shared := dnsmessage.ResourceHeader{Class: dnsmessage.ClassINET, TTL: otherTTL}
	own := dnsmessage.ResourceHeader{Class: dnsmessage.ClassINET | topBit, TTL: hostTTL}
	record := func(h dnsmessage.ResourceHeader, name dnsmessage.Name, kind dnsmessage.Type, body dnsmessage.ResourceBody) dnsmessage.Resource {
		h.Name, h.Type = name, kind
		return dnsmessage.Resource{Header: h, Body: body}
	}
	text := own
	text.TTL = otherTTL
	all := []dnsmessage.Resource{
		record(shared, enumeration, dnsmessage.TypePTR, &dnsmessage.PTRResource{PTR: v.kind}),
		record(shared, v.kind, dnsmessage.TypePTR, &dnsmessage.PTRResource{PTR: v.instance}),
		record(own, v.instance, dnsmessage.TypeSRV, &dnsmessage.SRVResource{Port: v.port, Target: v.host}),
		record(text, v.instance, dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: v.text}),
	}
	for _, a := range addrs {
		if a.Is4() {
			all = append(all, record(own, v.host, dnsmessage.TypeA, &dnsmessage.AResource{A: a.As4()}))
			continue
		}
		all = append(all, record(own, v.host, dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: a.As16()}))
	}
	return all
}

// goodbye returns the records that are no longer true when the service ends. The records of the
// host, which other programs may use, and of the type, which others may offer, are left to expire.
func (v service) goodbye() []dnsmessage.Resource {
	all := slices.DeleteFunc(v.records(nil), func(r dnsmessage.Resource) bool { return r.Header.Name == enumeration })
	for i := range all {
		all[i].Header.TTL = 0
	}
	return all
}

// answer returns the answer to a query, if the service has one, together with the records that will
// be asked for next (RFC 6763, section 12).
func (v service) answer(query *dnsmessage.Message, addrs []netip.Addr) (answer *dnsmessage.Message, ok bool) {
	records := v.records(addrs)
	asked := make([]bool, len(records))
	next := map[dnsmessage.Name]bool{}
	answer = response(nil)
	for i, r := range records {
		asked[i] = slices.ContainsFunc(query.Questions, func(q dnsmessage.Question) bool { return asks(q, r.Header) })
		if !asked[i] || slices.ContainsFunc(query.Answers, func(known dnsmessage.Resource) bool { return knows(known, r) }) {
			continue
		}
		answer.Answers = append(answer.Answers, r)
		switch body := r.Body.(type) {
		case *dnsmessage.PTRResource:
			if body.PTR == v.instance {
				next[v.instance], next[v.host] = true, true
			}
		case *dnsmessage.SRVResource:
			next[v.host] = true
		}
	}
	for i, r := range records {
		if !asked[i] && next[r.Header.Name] {
			answer.Additionals = append(answer.Additionals, r)
		}
	}
	return answer, len(answer.Answers) > 0
}

// asks reports whether a question is about a record.
func asks(q dnsmessage.Question, h dnsmessage.ResourceHeader) bool {
	class := q.Class &^ topBit
	return same(q.Name, h.Name) &&
		(q.Type == h.Type || q.Type == dnsmessage.TypeALL) &&
		(class == dnsmessage.ClassINET || class == dnsmessage.ClassANY)
}

// knows reports whether the sender of a query has a record already, with enough time to live (RFC
// 6762, section 7.1).
func knows(known, r dnsmessage.Resource) bool {
	return same(known.Header.Name, r.Header.Name) && known.Header.Type == r.Header.Type &&
		known.Header.TTL >= r.Header.TTL/2 && reflect.DeepEqual(known.Body, r.Body)
}

// same compares names, ignoring case.
func same(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

func response(answers []dnsmessage.Resource) *dnsmessage.Message {
	return &dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}, Answers: answers}
}

// forOrdinary changes an answer so that a client of ordinary DNS understands it (RFC 6762, section
// 6.7).
func forOrdinary(answer, query *dnsmessage.Message) {
	answer.ID, answer.Questions = query.ID, query.Questions
	for _, section := range [][]dnsmessage.Resource{answer.Answers, answer.Additionals} {
		for i := range section {
			h := &section[i].Header
			h.Class &^= topBit
			h.TTL = min(h.TTL, 10)
		}
	}
}
