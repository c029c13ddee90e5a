package main

import (
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/udpkit/udp"
)

// A decoder makes JSON of a datagram that has arrived at that time. It is used by one
// goroutine. The error says why the datagram is not of its format.
type decoder func(d udp.Datagram, received time.Time) ([]byte, error)

// format is a kind of input.
type format struct {
	decoder func(Input) decoder
	raw     bool // the payload is the datagram
	byHost  bool // one decoder gets all datagrams of an address
}

// formats are those that Input.Format may name.
var formats = map[string]format{
	"raw":     {decoder: func(Input) decoder { return keep }, raw: true},
	"syslog":  {decoder: newSyslog},
	"statsd":  {decoder: func(Input) decoder { return decodeStatsd }},
	"netflow": {decoder: newNetFlow, byHost: true},
}

func keep(udp.Datagram, time.Time) ([]byte, error) { return nil, nil }

// maxJSON is the longest JSON that is made of a datagram. Some that are longer could be
// made of forged ones: such a datagram is kept as it is.
const maxJSON = 256 << 10

var errLong = errors.New("longer than 256 KiB as JSON")

// origin is part of all JSON.
type origin struct {
	Source   netip.AddrPort `json:"source"`
	Received time.Time      `json:"received"`
}

func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxJSON {
		return nil, errLong
	}
	return b, err
}
