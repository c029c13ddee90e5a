package main

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A message is one log message of either format. Nothing of it lies in the
// datagram it was parsed from.
type message struct {
	Facility, Severity int
	Time               time.Time // of its sender; of its arrival if the sender gave none
	Host, App, Proc    string    // empty where the sender gave none
	ID                 string    // RFC 5424 only
	Data               string    // structured data as it was sent, RFC 5424 only
	Text               string
}

var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

var severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// String is the message as one line.
func (m message) String() string {
	var b strings.Builder
	b.WriteString(m.Time.Format(time.RFC3339Nano))
	b.WriteByte(' ')
	b.WriteString(facilities[m.Facility])
	b.WriteByte('.')
	b.WriteString(severities[m.Severity])
	b.WriteByte(' ')
	b.WriteString(m.Host)
	if m.App != "" {
		b.WriteByte(' ')
		b.WriteString(m.App)
	}
	if m.Proc != "" {
		b.WriteString("[" + m.Proc + "]")
	}
	b.WriteByte(':')
	for _, s := range []string{m.ID, m.Data, m.Text} {
		if s != "" {
			b.WriteByte(' ')
			b.WriteString(s)
		}
	}
	return b.String()
}

// parse reads a message of either format. It never fails: what fits neither is
// the text of a message from user.notice (RFC 3164, section 4.3.3).
func parse(b []byte, arrived time.Time) message {
	fallback := message{Facility: 1, Severity: 5, Time: arrived, Text: clean(b)}
	pri, rest, ok := priority(b)
	if !ok {
		return fallback
	}
	m := message{Facility: pri / 8, Severity: pri % 8, Time: arrived}
	if body, ok := bytes.CutPrefix(rest, []byte("1 ")); ok && m.parse5424(body) {
		return m
	}
	m = message{Facility: pri / 8, Severity: pri % 8, Time: arrived}
	m.parse3164(rest, arrived)
	return m
}

// priority reads <PRI>, one to three digits up to 191.
func priority(b []byte) (pri int, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '<' {
		return 0, nil, false
	}
	end := bytes.IndexByte(b, '>')
	if end < 2 || end > 4 {
		return 0, nil, false
	}
	for _, c := range b[1:end] {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		pri = pri*10 + int(c-'0')
	}
	return pri, b[end+1:], pri < len(facilities)*len(severities)
}

// parse5424 reads what follows the version (RFC 5424, section 6):
//
//	TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]
func (m *message) parse5424(b []byte) bool {
	var fields [5]string
	for i := range fields {
		field, rest, ok := bytes.Cut(b, []byte{' '})
		if !ok || len(field) == 0 {
			return false
		}
		b = rest
		if len(field) != 1 || field[0] != '-' {
			fields[i] = clean(field)
		}
	}
	if fields[0] != "" {
		t, err := time.Parse(time.RFC3339Nano, fields[0])
		if err != nil {
			return false
		}
		m.Time = t
	}
	m.Host, m.App, m.Proc, m.ID = fields[1], fields[2], fields[3], fields[4]
	n, ok := structured(b)
	if !ok {
		return false
	}
	if b[0] != '-' {
		m.Data = clean(b[:n])
	}
	b = b[n:]
	if len(b) > 0 && b[0] != ' ' {
		return false
	}
	b = bytes.TrimPrefix(b, []byte{' '})
	m.Text = clean(bytes.TrimPrefix(b, []byte("\ufeff"))) // the mark that says UTF-8
	return true
}

// structured returns the length of the structured data that b begins with: "-"
// or elements in brackets, in whose quoted values a backslash escapes.
func structured(b []byte) (n int, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		return 1, true
	}
	for n < len(b) && b[n] == '[' {
		quoted := false
		for n++; ; n++ {
			if n == len(b) {
				return 0, false
			}
			if b[n] == '"' {
				quoted = !quoted
			} else if quoted && b[n] == '\\' && n+1 < len(b) {
				n++
			} else if !quoted && b[n] == ']' {
				break
			}
		}
		n++
	}
	return n, n > 0
}

// parse3164 reads what follows the priority in the older format, which is what
// programs were seen to send (RFC 3164, section 5.4) more than a rule:
//
//	Mmm dd hh:mm:ss HOSTNAME TAG[PID]: CONTENT
func (m *message) parse3164(b []byte, arrived time.Time) {
	if len(b) > len(time.Stamp) && b[len(time.Stamp)] == ' ' {
		t, err := time.ParseInLocation(time.Stamp, string(b[:len(time.Stamp)]), arrived.Location())
		if err == nil {
			m.Time = withYear(t, arrived)
			b = b[len(time.Stamp)+1:]
			if host, rest, ok := bytes.Cut(b, []byte{' '}); ok && !bytes.ContainsAny(host, ":[") {
				m.Host, b = clean(host), rest
			}
		}
	}
	// The tag ends at what can't be in a name.
	end := bytes.IndexFunc(b, func(r rune) bool { return r == ':' || r == '[' || unicode.IsSpace(r) })
	if end > 0 && b[end] != ' ' {
		tag, rest := b[:end], b[end:]
		var proc []byte
		if rest[0] == '[' {
			if i := bytes.IndexByte(rest, ']'); i > 0 {
				proc, rest = rest[1:i], rest[i+1:]
			}
		}
		if text, ok := bytes.CutPrefix(rest, []byte{':'}); ok {
			m.App, m.Proc, b = clean(tag), clean(proc), bytes.TrimPrefix(text, []byte{' '})
		}
	}
	m.Text = clean(b)
}

// withYear gives a time that came without one the year that brings it nearest to
// its arrival.
func withYear(t, arrived time.Time) time.Time {
	at := func(year int) time.Time {
		return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, t.Location())
	}
	nearest := at(arrived.Year())
	for _, year := range []int{arrived.Year() - 1, arrived.Year() + 1} {
		if other := at(year); other.Sub(arrived).Abs() < nearest.Sub(arrived).Abs() {
			nearest = other
		}
	}
	return nearest
}

// clean makes text of bytes that anybody may have sent: what is not printable
// is escaped, so that a message is one line and a terminal is not commanded. A
// line end at its end is dropped.
func clean(b []byte) string {
	b = bytes.TrimRight(b, "\r\n\x00")
	var s strings.Builder
	s.Grow(len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			s.WriteString(`\x` + strconv.FormatUint(uint64(b[0])|0x100, 16)[1:])
		case r == '\t' || unicode.IsPrint(r):
			s.Write(b[:n])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			s.WriteString(quoted[1 : len(quoted)-1])
		}
		b = b[n:]
	}
	return s.String()
}
