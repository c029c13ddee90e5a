package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"runtime"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"

	"github.com/udpkit/udp"
)

// flowMessage is the JSON of a datagram of NetFlow or IPFIX.
type flowMessage struct {
	origin
	Version  uint16    `json:"version"` // 5, 9 or 10 (IPFIX)
	Exported time.Time `json:"exported"`
	Uptime   uint32    `json:"uptime_ms,omitempty"` // of the exporter, which fields ...SysUpTime refer to
	Sequence uint32    `json:"sequence"`
	Domain   uint32    `json:"domain"`              // observation domain, source ID, or engine
	Sampling uint16    `json:"sampling,omitempty"`  // of version 5: one packet in so many
	Count    int       `json:"templates,omitempty"` // that it brought

	// Arrays of objects, which are JSON already: encoding/json would read it again.
	flows   []byte // "flows"
	options []byte // "options", about the exporter
}

// marshal returns the whole as JSON.
func (m *flowMessage) marshal() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	for _, array := range []struct {
		name string
		json []byte
	}{{"flows", m.flows}, {"options", m.options}} {
		if len(array.json) > 0 {
			b = appendName(b[:len(b)-1], array.name)
			b = append(append(b, array.json...), "]}"...)
		}
	}
	if len(b) > maxJSON {
		return nil, errLong
	}
	return b, nil
}

var (
	errVersion = errors.New("neither NetFlow 5 nor 9 nor IPFIX")
	errLength  = errors.New("the length in the header is not that of the datagram")
)

const v5Header, v5Record = 24, 48

// newNetFlow returns a decoder of the three versions. All datagrams of an exporter must
// come to the same one.
func newNetFlow(in Input) decoder {
	workers := in.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	known := newTemplates(in.Templates / workers)
	return func(d udp.Datagram, received time.Time) ([]byte, error) {
		if len(d.Data) < 4 {
			return nil, errVersion
		}
		m := flowMessage{origin: origin{d.From, received}, Version: binary.BigEndian.Uint16(d.Data)}
		data := bytes.NewBuffer(d.Data[2:])
		var err error
		switch m.Version {
		case 5:
			// The library would make as many records as the header says.
			if n := int(binary.BigEndian.Uint16(d.Data[2:])); len(d.Data) != v5Header+n*v5Record {
				return nil, errLength
			}
			var packet netflowlegacy.PacketNetFlowV5
			if err = netflowlegacy.DecodeMessage(data, &packet); err == nil {
				m.v5(&packet)
			}
		case 9:
			var packet netflow.NFv9Packet
			state := decoding{templates: known, exporter: d.From.Addr()}
			if err = netflow.DecodeMessageNetFlow(data, &state, &packet); err == nil {
				m.Exported = time.Unix(int64(packet.UnixSeconds), 0).UTC()
				m.Uptime, m.Sequence, m.Domain = packet.SystemUptime, packet.SequenceNumber, packet.SourceId
				m.sets(packet.FlowSets, state.used)
			}
		case 10:
			if int(binary.BigEndian.Uint16(d.Data[2:])) != len(d.Data) {
				return nil, errLength
			}
			var packet netflow.IPFIXPacket
			state := decoding{templates: known, exporter: d.From.Addr()}
			if err = netflow.DecodeMessageIPFIX(data, &state, &packet); err == nil {
				m.Exported = time.Unix(int64(packet.ExportTime), 0).UTC()
				m.Sequence, m.Domain = packet.SequenceNumber, packet.ObservationDomainId
				m.sets(packet.FlowSets, state.used)
			}
		default:
			err = errVersion
		}
		if err != nil {
			return nil, err
		}
		return m.marshal()
	}
}

// sets takes the records out of what the library returns. used are the templates of the
// data sets.
func (m *flowMessage) sets(sets []any, used []*template) {
	for _, set := range sets {
		switch s := set.(type) {
		case netflow.DataFlowSet:
			for _, r := range s.Records {
				m.flows = used[0].appendRecord(next(m.flows), nil, r.Values)
			}
			used = used[1:]
		case netflow.OptionsDataFlowSet:
			for _, r := range s.Records {
				m.options = used[0].appendRecord(next(m.options), r.ScopesValues, r.OptionsValues)
			}
			used = used[1:]
		case netflow.TemplateFlowSet:
			m.Count += len(s.Records)
		case netflow.IPFIXOptionsTemplateFlowSet:
			m.Count += len(s.Records)
		case netflow.NFv9OptionsTemplateFlowSet:
			m.Count += len(s.Records)
		}
	}
}

// v5 gives the fields the names that the other versions have.
func (m *flowMessage) v5(p *netflowlegacy.PacketNetFlowV5) {
	m.Exported = time.Unix(int64(p.UnixSecs), int64(p.UnixNSecs)).UTC()
	m.Uptime, m.Sequence = p.SysUptime, p.FlowSequence
	m.Domain = uint32(p.EngineType)<<8 | uint32(p.EngineId)
	m.Sampling = p.SamplingInterval & 0x3fff
	for i := range p.Records {
		m.flows = appendV5(next(m.flows), &p.Records[i])
	}
}

// next begins an element of an array.
func next(array []byte) []byte {
	if len(array) == 0 {
		return append(array, '[')
	}
	return append(array, ',')
}
