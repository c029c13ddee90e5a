package main

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Datagrams of exporters, for tests.

func be16(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return b
}

func be32(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return b
}

func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// set is a FlowSet or Set.
func set(id int, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return slices.Concat(be16(id, 4+len(body)), body)
}

// netflow9 is a datagram of version 9.
func netflow9(sets ...[]byte) []byte {
	return slices.Concat(be16(9, len(sets)), be32(5000, 1700000000, 42, 7), slices.Concat(sets...))
}

// ipfix is a message of IPFIX.
func ipfix(sets ...[]byte) []byte {
	body := slices.Concat(sets...)
	return slices.Concat(be16(10, 16+len(body)), be32(1700000000, 42, 7), body)
}

// netflow5 is a datagram of version 5 with n records.
func netflow5(n int) []byte {
	b := slices.Concat(be16(5, n), be32(5000, 1700000000, 0, 42), []byte{1, 2}, be16(0x4000|100))
	for i := range n {
		b = slices.Concat(b, ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.254"), be16(1, 2), be32(10+i, 1000, 4000, 4500),
			be16(1234, 443), []byte{0, 0x1b, 6, 0}, be16(65001, 65002), []byte{24, 16}, be16(0))
	}
	return b
}

// template9 is a template of fields: pairs of type and length.
func template9(id int, pairs ...int) []byte {
	return slices.Concat(be16(id, len(pairs)/2), be16(pairs...))
}
