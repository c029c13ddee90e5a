package main

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/udpkit/udp"
)

// syslogMessage is the JSON of a message. What a message does not have is left out.
type syslogMessage struct {
	origin
	Format   string                       `json:"format"` // "rfc5424" or "rfc3164"
	Facility string                       `json:"facility"`
	Severity string                       `json:"severity"`
	Time     *time.Time                   `json:"time,omitempty"`
	Host     string                       `json:"host,omitempty"`
	App      string                       `json:"app,omitempty"`
	ProcID   string                       `json:"procid,omitempty"`
	MsgID    string                       `json:"msgid,omitempty"`
	Data     map[string]map[string]string `json:"data,omitempty"`
	Message  string                       `json:"message"`
}

var (
	errPriority = errors.New("no priority: want <0> to <191>")
	errSyslog   = errors.New("not a message of RFC 5424")
)

// newSyslog returns a decoder of both formats.
func newSyslog(in Input) decoder {
	zone, err := in.location()
	if err != nil { // check has found it
		zone = time.UTC
	}
	modern := rfc5424.NewParser()
	old := rfc3164.NewParser(rfc3164.WithYear(rfc3164.CurrentYear{}), rfc3164.WithLocaleTimezone(zone),
		rfc3164.WithRFC3339(), rfc3164.WithLenientDay(), rfc3164.WithEmbeddedNewlines())
	return func(d udp.Datagram, received time.Time) ([]byte, error) {
		data := bytes.TrimRight(d.Data, "\r\n\x00")
		priority, rest, ok := cutPriority(data)
		if !ok {
			return nil, errPriority
		}
		m := syslogMessage{origin: origin{d.From, received}}
		if bytes.HasPrefix(rest, []byte("1 ")) {
			parsed, err := modern.Parse(data)
			if err != nil {
				return nil, err
			}
			s, ok := parsed.(*rfc5424.SyslogMessage)
			if !ok {
				return nil, errSyslog
			}
			m.Format = "rfc5424"
			m.base(&s.Base)
			if s.StructuredData != nil {
				m.Data = *s.StructuredData
			}
			return marshal(&m)
		}
		m.Format = "rfc3164"
		// Of some damaged messages the parser returns nil without an error.
		parsed, err := old.Parse(data)
		if s, ok := parsed.(*rfc3164.SyslogMessage); ok && err == nil {
			m.base(&s.Base)
			m.inYear(received)
		} else {
			// RFC 3164, section 4.3.2: without a valid timestamp the rest is the message.
			var b syslog.Base
			b.ComputeFromPriority(priority)
			m.base(&b)
			m.Message = string(rest)
		}
		return marshal(&m)
	}
}

// cutPriority splits "<34>rest".
func cutPriority(b []byte) (priority uint8, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '>')
	if end < 2 || end > 4 || b[0] != '<' {
		return 0, nil, false
	}
	n, err := strconv.ParseUint(string(b[1:end]), 10, 8)
	return uint8(n), b[end+1:], err == nil && n <= 191
}

func (m *syslogMessage) base(b *syslog.Base) {
	set := func(to, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&m.Facility, b.FacilityLevel())
	set(&m.Severity, b.SeverityShortLevel())
	set(&m.Host, b.Hostname)
	set(&m.App, b.Appname)
	set(&m.ProcID, b.ProcID)
	set(&m.MsgID, b.MsgID)
	set(&m.Message, b.Message)
	m.Time = b.Timestamp
}

// inYear corrects the year of a timestamp that has none: around New Year, the message
// is of the year before, or of the next one.
func (m *syslogMessage) inYear(received time.Time) {
	if m.Time == nil {
		return
	}
	const half = 183 * 24 * time.Hour
	switch t := *m.Time; {
	case t.Sub(received) > half:
		t = t.AddDate(-1, 0, 0)
		m.Time = &t
	case received.Sub(t) > half && received.Sub(t) < 2*half:
		t = t.AddDate(1, 0, 0)
		m.Time = &t
	}
}
