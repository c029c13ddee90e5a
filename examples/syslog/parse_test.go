package main

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

var arrived = time.Date(2026, time.January, 1, 0, 0, 1, 0, time.UTC)

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		// The examples of the RFCs.
		{"RFC 3164, 5.4, example 1", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
			"2025-10-11T22:14:15Z auth.crit mymachine su: 'su root' failed for lonvick on /dev/pts/8"},
		{"RFC 3164, 5.4, example 2, has no time", "Use the BFG!",
			"2026-01-01T00:00:01Z user.notice : Use the BFG!"},
		{"RFC 3164, 5.4, example 3, has no tag", "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time to make the do-nuts. %%",
			"2025-08-24T05:34:00Z local4.notice CST: 1987 mymachine myproc[10]: %% It's time to make the do-nuts. %%"},
		{"RFC 5424, 6.5, example 1, with the mark of UTF-8", "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8",
			"2003-10-11T22:14:15.003Z auth.crit mymachine.example.com su: ID47 'su root' failed for lonvick on /dev/pts/8"},
		{"RFC 5424, 6.5, example 2, with a time zone", "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
			"2003-08-24T05:14:15.000003-07:00 local4.notice 192.0.2.1 myproc[8710]: %% It's time to make the do-nuts."},
		{"RFC 5424, 6.5, example 3, with structured data", `<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] An application event log entry...`,
			`2003-10-11T22:14:15.003Z local4.notice mymachine.example.com evntslog: ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] An application event log entry...`},
		{"RFC 5424, 6.5, example 4, structured data only", `<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3"][examplePriority@32473 class="high"]`,
			`2003-10-11T22:14:15.003Z local4.notice mymachine.example.com evntslog: ID47 [exampleSDID@32473 iut="3"][examplePriority@32473 class="high"]`},

		{"escapes in structured data", `<13>1 - - - - - [a b="\"]\\"] x`, `2026-01-01T00:00:01Z user.notice : [a b="\"]\\"] x`},
		{"all fields are nil", "<0>1 - - - - - -", "2026-01-01T00:00:01Z kern.emerg :"},
		{"the last second of a year", "<13>Dec 31 23:59:59 h a: x", "2025-12-31T23:59:59Z user.notice h a: x"},
		{"a sender whose clock is ahead", "<13>Jan  2 00:00:00 h a: x", "2026-01-02T00:00:00Z user.notice h a: x"},
		{"a tag with a process and no host", "<13>a[7]: x", "2026-01-01T00:00:01Z user.notice  a[7]: x"},
		{"the highest priority", "<191>a: x", "2026-01-01T00:00:01Z local7.debug  a: x"},
		{"a priority above the highest", "<192>a: x", "2026-01-01T00:00:01Z user.notice : <192>a: x"},
		{"a priority without an end", "<13", "2026-01-01T00:00:01Z user.notice : <13"},
		{"an empty priority", "<>x", "2026-01-01T00:00:01Z user.notice : <>x"},
		{"a priority and nothing else", "<13>", "2026-01-01T00:00:01Z user.notice :"},
		{"an unknown version is text", "<13>2 - - - - - - x", "2026-01-01T00:00:01Z user.notice : 2 - - - - - - x"},
		{"structured data without an end is text", `<13>1 - - - - - [a b="] x`, `2026-01-01T00:00:01Z user.notice : 1 - - - - - [a b="] x`},
		{"a wrong time is text", "<13>1 yesterday - - - - - x", "2026-01-01T00:00:01Z user.notice : 1 yesterday - - - - - x"},
		{"an empty datagram", "", "2026-01-01T00:00:01Z user.notice :"},
		{"line ends and escape sequences", "<13>a: one\ntwo\x1b[31m\x00three\xff\r\n", `2026-01-01T00:00:01Z user.notice  a: one\ntwo\x1b[31m\x00three\xff`},
		{"text that is no English", "<13>a: grüße, мир", "2026-01-01T00:00:01Z user.notice  a: grüße, мир"},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, parse([]byte(test.in), arrived).String())
		})
	}
}

func TestParseKeepsNothingOfTheDatagram(t *testing.T) {
	b := []byte("<13>1 - host app 7 id [a] text")
	m := parse(b, arrived)
	before := m.String()
	clear(b)
	require.Equal(t, before, m.String())
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("<34>Oct 11 22:14:15 mymachine su[1]: failed"))
	f.Add([]byte(`<34>1 2003-10-11T22:14:15.003Z host app 1 id [a b="\""] text`))
	f.Fuzz(func(t *testing.T, b []byte) {
		line := parse(b, arrived).String()
		// One printable line, whatever was sent.
		require.False(t, strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }), "%q", line)
	})
}
