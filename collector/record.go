package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Record is one datagram on its way into the stream.
type Record struct {
	ID       string         // of the message; no other record of any collector has it
	Input    string         // name of the input
	Source   netip.AddrPort // sender
	Received time.Time
	Subject  string
	Fault    string // why Payload is the datagram as it arrived, although it should be JSON
	Raw      bool   // Payload is the datagram
	Payload  []byte
}

// Headers of messages. JSON has source and time inside, so the message has its id only.
const (
	sourceHeader   = "Udp-Source"
	receivedHeader = "Udp-Received"
	faultHeader    = "Udp-Fault"
)

// message returns what is published.
func (r *Record) message() *nats.Msg {
	h := nats.Header{jetstream.MsgIDHeader: {r.ID}}
	if r.Raw {
		h[sourceHeader] = []string{r.Source.String()}
		h[receivedHeader] = []string{r.Received.UTC().Format(time.RFC3339Nano)}
	}
	if r.Fault != "" {
		h[faultHeader] = []string{r.Fault}
	}
	return &nats.Msg{Subject: r.Subject, Header: h, Data: r.Payload}
}

// size is about what the record takes in memory and in the spool.
func (r *Record) size() int {
	return len(r.ID) + len(r.Input) + len(r.Subject) + len(r.Fault) + len(r.Payload) + 64
}

// appendTo appends the record as the spool keeps it.
func (r *Record) appendTo(b []byte) []byte {
	b = appendBytes(b, r.ID)
	b = appendBytes(b, r.Input)
	source, _ := r.Source.MarshalBinary()
	b = appendBytes(b, source)
	b = binary.AppendVarint(b, r.Received.UnixNano())
	b = appendBytes(b, r.Subject)
	b = appendBytes(b, r.Fault)
	if r.Raw {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, r.Payload...)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errRecord = errors.New("not a record")

// parseRecord is the reverse of appendTo. The payload is part of b.
func parseRecord(b []byte) (r Record, err error) {
	next := func() (part []byte) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			err = errRecord
			return nil
		}
		part, b = b[k:k+int(n)], b[k+int(n):]
		return part
	}
	r.ID = string(next())
	r.Input = string(next())
	if e := r.Source.UnmarshalBinary(next()); e != nil {
		return r, errRecord
	}
	nanos, k := binary.Varint(b)
	if k <= 0 {
		return r, errRecord
	}
	b = b[k:]
	r.Received = time.Unix(0, nanos)
	r.Subject = string(next())
	r.Fault = string(next())
	if err != nil || len(b) == 0 {
		return r, errRecord
	}
	r.Raw = b[0] == 1
	r.Payload = b[1:]
	return r, nil
}

// ids makes ids that are unique: a random number for the process, and a counter.
type ids struct {
	process string
	last    atomic.Uint64
}

func newIDs() *ids {
	b := make([]byte, 9)
	rand.Read(b) // never fails
	return &ids{process: base64.RawURLEncoding.EncodeToString(b)}
}

func (g *ids) next() string {
	return string(strconv.AppendUint([]byte(g.process+"-"), g.last.Add(1), 36))
}
