package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp/examples/internal/program"
)

// logger is the one of util-linux: that of the BSDs has other options.
func needLogger(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs the logger of util-linux")
	}
	program.Need(t, "logger")
}

func TestLoggerInBothFormats(t *testing.T) {
	needLogger(t)
	for _, test := range []struct{ format, want string }{
		{"--rfc3164", `^20\S+ 127\.0\.0\.1 local3\.warning .* it\[42\]: number (\d+) of 2000, <b> "quoted" ü$`},
		{"--rfc5424", `^20\S+ 127\.0\.0\.1 local3\.warning 1 .* it 42 - \[timeQuality tzKnown="1" .*\] (?:\\ufeff)?number (\d+) of 2000, <b> "quoted" ü$`},
	} {
		t.Run(test.format, func(t *testing.T) {
			const n, burst = 2000, 50 // as many as fit into the smallest receive buffer
			want := regexp.MustCompile(test.want)
			p, cmd, addr, _ := process(t)
			r, w, err := os.Pipe()
			require.NoError(t, err)
			logger := program.Start(t, r, "logger", "-d", "-n", addr.Addr().String(), "-P", strconv.Itoa(int(addr.Port())),
				test.format, "-p", "local3.warning", "-t", "it", "--id=42")
			r.Close()
			for i := range n {
				_, err := fmt.Fprintf(w, "number %d of %d, <b> \"quoted\" ü\n", i, n)
				require.NoError(t, err)
				// The sender goes on when the last burst has arrived, so nothing is lost.
				if (i+1)%burst == 0 {
					for j := i + 1 - burst; j <= i; j++ {
						m := want.FindStringSubmatch(p.Line(`number`)[0])
						require.NotNil(t, m)
						require.Equal(t, strconv.Itoa(j), m[1])
					}
				}
			}
			require.NoError(t, w.Close())
			logger.Rest()
			require.NoError(t, logger.Err())
			rest := terminate(t, p, cmd)
			require.Len(t, rest, 1)
			require.Regexp(t, fmt.Sprintf("^%d messages received, %d written, 0 dropped, 0 lost", n, n), rest[0])
		})
	}
}

func TestLoggerAtFullSpeedAndSIGTERM(t *testing.T) {
	needLogger(t)
	const n = 5000
	p, cmd, addr, buffer := process(t)
	// What one small datagram takes of a receive buffer, half of which is payload by
	// the kernel's reckoning (socket(7), SO_RCVBUF).
	const perDatagram = 1280
	if buffer*2 < n*perDatagram {
		t.Skipf("a receive buffer of %d bytes cannot take %d messages: it takes CAP_NET_ADMIN, or a higher net.core.rmem_max", buffer, n)
	}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "number %d\n", i)
	}
	file := filepath.Join(t.TempDir(), "messages")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	logger := program.Start(t, nil, "logger", "-d", "-n", addr.Addr().String(), "-P", strconv.Itoa(int(addr.Port())),
		"--rfc5424=notq,notime,nohost", "-t", "it", "-f", file)
	logger.Rest()
	require.NoError(t, logger.Err())

	// The program stops as soon as the sender has ended: nothing may be lost.
	rest := terminate(t, p, cmd)
	require.Len(t, rest, n+1)
	for i, line := range rest[:n] {
		require.True(t, strings.HasSuffix(line, fmt.Sprintf(" it - - - number %d", i)), line)
	}
	require.Equal(t, fmt.Sprintf("%d messages received, %d written, 0 dropped, 0 lost by the kernel (-1 is unknown)", n, n), rest[n])
}
