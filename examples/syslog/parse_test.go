package main

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestLine(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"RFC 3164, 5.4, example 1", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
			"auth.crit Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8"},
		{"RFC 3164, 5.4, example 2", "Use the BFG!", "user.notice Use the BFG!"},
		{"RFC 5424, 6.5, example 3", `<165>1 2003-10-11T22:14:15.003Z mymachine evntslog - ID47 [ex@32473 iut="3"] An entry`,
			`local4.notice 1 2003-10-11T22:14:15.003Z mymachine evntslog - ID47 [ex@32473 iut="3"] An entry`},
		{"the lowest priority", "<0>x", "kern.emerg x"},
		{"the highest priority", "<191>x", "local7.debug x"},
		{"a priority above the highest", "<192>x", "user.notice <192>x"},
		{"a priority of four digits", "<0013>x", "user.notice <0013>x"},
		{"a negative priority", "<-1>x", "user.notice <-1>x"},
		{"a priority without an end", "<13", "user.notice <13"},
		{"an empty priority", "<>x", "user.notice <>x"},
		{"a priority and nothing else", "<13>", "user.notice "},
		{"an empty datagram", "", "user.notice "},
		{"line ends and escape sequences", "<13>a: one\ntwo\x1b[31m\x00three\xff\r\n", `user.notice a: one\ntwo\x1b[31m\x00three\xff`},
		{"text that is not English", "<13>a: grüße, мир", "user.notice a: grüße, мир"},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, line([]byte(test.in))) })
	}
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("<34>Oct 11 22:14:15 mymachine su[1]: failed"))
	f.Add([]byte(`<34>1 2003-10-11T22:14:15.003Z host app 1 id [a b="\""] text`))
	f.Fuzz(func(t *testing.T, b []byte) {
		// One printable line, whatever was sent.
		require.False(t, strings.ContainsFunc(line(b), func(r rune) bool { return !unicode.IsPrint(r) }), "%q", line(b))
	})
}
