package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
)

// field is the name of a field in JSON, and what its bytes are.
type field struct {
	name string
	kind kind
}

type kind uint8

const (
	integer kind = iota // of up to 8 bytes; longer ones are octets
	address
	mac
	text
	octets // in hexadecimal
)

// elements are the information elements that the library knows, by their number. The
// library makes a map of them each time that it is asked. NetFlow 9 has the same numbers.
var elements = sync.OnceValue(func() []field {
	const last = 467
	list := make([]field, last+1)
	for id := range list {
		list[id] = field{name: netflow.IPFIXTypeToString(uint16(id))}
		f := &list[id]
		switch {
		case f.name == "" || strings.Contains(f.name, " "): // a gap in the registry
			f.name = "element" + strconv.Itoa(id)
		case strings.HasSuffix(f.name, "IPv4Address"), strings.HasSuffix(f.name, "IPv6Address"),
			strings.HasSuffix(f.name, "IPv4Prefix"), strings.HasSuffix(f.name, "IPv6Prefix"):
			f.kind = address
		case strings.HasSuffix(f.name, "MacAddress"):
			f.kind = mac
		case strings.HasSuffix(f.name, "Name"), strings.HasSuffix(f.name, "Description"),
			strings.HasSuffix(f.name, "name"), strings.HasSuffix(f.name, "SSID"):
			f.kind = text
		case strings.HasSuffix(f.name, "Section"), strings.HasSuffix(f.name, "SectionData"),
			strings.HasSuffix(f.name, "Octets") && !strings.HasPrefix(f.name, "initiator") && !strings.HasPrefix(f.name, "responder"):
			f.kind = octets
		}
	}
	return list
})

// names finds the names of the fields of one template, and adds up their lengths.
type names struct {
	used            map[string]int
	count           int // of fields
	fixed, shortest int // bytes of a record: fields of fixed length, and with one byte for each other
}

func newNames() *names { return &names{used: make(map[string]int)} }

func (n *names) fields(list []netflow.Field) []field {
	return n.each(list, func(f netflow.Field) field {
		id := f.Type
		if f.PenProvided {
			id &^= 0x8000 // the library leaves it in option templates
			return field{"enterprise" + strconv.Itoa(int(f.Pen)) + "." + strconv.Itoa(int(id)), octets}
		}
		if known := elements(); int(id) < len(known) {
			return known[id]
		}
		return field{"element" + strconv.Itoa(int(id)), octets}
	})
}

// scopes are the scopes of NetFlow 9, which have numbers of their own.
func (n *names) scopes(list []netflow.Field) []field {
	return n.each(list, func(f netflow.Field) field {
		return field{"scope" + netflow.NFv9ScopeToString(f.Type), integer}
	})
}

func (n *names) each(list []netflow.Field, of func(netflow.Field) field) []field {
	n.count += len(list)
	if n.count > maxFields {
		return nil // it will be refused
	}
	named := make([]field, len(list))
	for i, f := range list {
		if f.Length == 0xffff { // variable
			n.shortest++
		} else {
			n.fixed += int(f.Length)
			n.shortest += int(f.Length)
		}
		named[i] = of(f)
		// A field may be there more than once (RFC 7011, section 8), a JSON key may not.
		name := named[i].name
		if n.used[name]++; n.used[name] > 1 {
			named[i].name += "_" + strconv.Itoa(n.used[name])
		}
	}
	return named
}

// appendRecord appends a record of t as a JSON object.
func (t *template) appendRecord(b []byte, scopes, values []netflow.DataField) []byte {
	b = append(b, '{')
	b = appendFields(b, t.scopes, scopes)
	b = appendFields(b, t.fields, values)
	return append(b, '}')
}

func appendFields(b []byte, fields []field, values []netflow.DataField) []byte {
	for i, f := range fields[:min(len(fields), len(values))] {
		v, _ := values[i].Value.([]byte)
		b = appendName(b, f.name)
		b = f.appendValue(b, v)
	}
	return b
}

// appendName appends the key of a JSON object that b ends with.
func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...) // ASCII without quotes
	return append(b, `":`...)
}

func (f field) appendValue(b, v []byte) []byte {
	switch {
	case len(v) == 0:
		return append(b, "null"...)
	case f.kind == integer && len(v) <= 8:
		var n [8]byte
		copy(n[8-len(v):], v)
		return strconv.AppendUint(b, binary.BigEndian.Uint64(n[:]), 10)
	case f.kind == address:
		if a, ok := netip.AddrFromSlice(v); ok {
			b = append(b, '"')
			b = a.AppendTo(b)
			return append(b, '"')
		}
	case f.kind == mac && len(v) == 6:
		return append(append(append(b, '"'), net.HardwareAddr(v).String()...), '"')
	case f.kind == text:
		s, _ := json.Marshal(strings.TrimRight(string(v), "\x00")) // a string always succeeds
		return append(b, s...)
	}
	b = append(b, '"')
	b = hex.AppendEncode(b, v)
	return append(b, '"')
}

// appendV5 appends a record of version 5 as a JSON object.
func appendV5(b []byte, r *netflowlegacy.RecordsNetFlowV5) []byte {
	known := elements()
	b = append(b, '{')
	addr := func(id int, a netflowlegacy.IPAddress) {
		b = appendName(b, known[id].name)
		b = known[id].appendValue(b, binary.BigEndian.AppendUint32(nil, uint32(a)))
	}
	num := func(id int, n uint32) {
		b = appendName(b, known[id].name)
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	addr(netflow.IPFIX_FIELD_sourceIPv4Address, r.SrcAddr)
	addr(netflow.IPFIX_FIELD_destinationIPv4Address, r.DstAddr)
	addr(netflow.IPFIX_FIELD_ipNextHopIPv4Address, r.NextHop)
	num(netflow.IPFIX_FIELD_ingressInterface, uint32(r.Input))
	num(netflow.IPFIX_FIELD_egressInterface, uint32(r.Output))
	num(netflow.IPFIX_FIELD_packetDeltaCount, r.DPkts)
	num(netflow.IPFIX_FIELD_octetDeltaCount, r.DOctets)
	num(netflow.IPFIX_FIELD_flowStartSysUpTime, r.First)
	num(netflow.IPFIX_FIELD_flowEndSysUpTime, r.Last)
	num(netflow.IPFIX_FIELD_sourceTransportPort, uint32(r.SrcPort))
	num(netflow.IPFIX_FIELD_destinationTransportPort, uint32(r.DstPort))
	num(netflow.IPFIX_FIELD_tcpControlBits, uint32(r.TCPFlags))
	num(netflow.IPFIX_FIELD_protocolIdentifier, uint32(r.Proto))
	num(netflow.IPFIX_FIELD_ipClassOfService, uint32(r.Tos))
	num(netflow.IPFIX_FIELD_bgpSourceAsNumber, uint32(r.SrcAS))
	num(netflow.IPFIX_FIELD_bgpDestinationAsNumber, uint32(r.DstAS))
	num(netflow.IPFIX_FIELD_sourceIPv4PrefixLength, uint32(r.SrcMask))
	num(netflow.IPFIX_FIELD_destinationIPv4PrefixLength, uint32(r.DstMask))
	return append(b, '}')
}
