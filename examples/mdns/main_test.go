package main

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, args ...string) *program.Program {
	t.Helper()
	return program.RunWith(t, run, args...)
}

// announced starts a program that announces a service on the loopback interface,
// and returns it with its port.
func announced(t *testing.T, args ...string) (p *program.Program, lo, port string) {
	t.Helper()
	lo = program.Loopback(t).Name
	p = start(t, append([]string{"announce", "-interface", lo, "-port", "0"}, args...)...)
	p.Line(`^joined 224\.0\.0\.251 on ` + lo)
	return p, lo, p.Line(`^announcing .* by mDNS, port (\d+)`)[1]
}

func TestBrowseReportsServicesThatAppearAndDisappear(t *testing.T) {
	web, lo, port := announced(t, "-name", "Our Web", "-host", "Box.example.org", "_http._tcp", "8080", "path=/a", "x")
	browser := start(t, "browse", "-interface", lo, "-port", port, "-wait", "0", "_http._tcp")
	browser.Line(`^\+ Our Web\._http\._tcp\.local\. at Box\.local\.:8080 \[127\.0\.0\.1.*\] \["path=/a" "x"\]$`)
	web.Stop()
	require.NoError(t, web.Err())
	browser.Line(`^- Our Web\._http\._tcp\.local\.$`)
	browser.Stop()
	require.NoError(t, browser.Err())
}

func TestQueryAsksForEachType(t *testing.T) {
	_, lo, port := announced(t, "-name", "Our Web", "-host", "box", "_http._tcp", "8080")
	for _, test := range []struct{ kind, name, want string }{
		{"A", "BOX.local", `^box\.local\. A 127\.0\.0\.1, says \S+:` + port},
		{"ptr", "_services._dns-sd._udp.local.", `^_services\._dns-sd\._udp\.local\. PTR _http\._tcp\.local\.`},
		{"PTR", "_http._tcp", `^_http\._tcp\.local\. PTR Our Web\._http\._tcp\.local\.`},
		{"SRV", "Our Web._http._tcp", `SRV box\.local\.:8080`},
		{"TXT", "Our Web._http._tcp", `TXT \[""\]`},
	} {
		client := start(t, "query", "-interface", lo, "-port", port, "-wait", "1m", "-count", "1", "-type", test.kind, test.name)
		client.Line(test.want)
		client.Rest()
		require.NoError(t, client.Err())
	}
}

func TestQueryThatNobodyAnswers(t *testing.T) {
	err := run(t.Context(), []string{"query", "-interface", program.Loopback(t).Name, "-port", "9", "-wait", "1ns", "box"}, io.Discard)
	require.ErrorContains(t, err, "0 answers")
}

func TestInterruptedFindsReportHowLongTheyTook(t *testing.T) {
	_, lo, port := announced(t, "-name", "Our Web", "-host", "box", "_http._tcp", "8080")
	for first, args := range map[string][]string{
		`^box\.local\. A`: {"query", "-type", "A", "box"},
		`^\+ Our Web`:     {"browse", "_http._tcp.local"},
	} {
		args = append([]string{args[0], "-interface", lo, "-port", port, "-wait", "1h", "-count", "1000"}, args[1:]...)
		p := start(t, args...)
		p.Line(first)
		p.Stop()
		require.ErrorContains(t, p.Err(), "1 ")
		require.NotContains(t, p.Err().Error(), "1h")
	}
}

func TestNamesAreOfTheDomainLocal(t *testing.T) {
	for name, want := range map[string]string{
		"box": "box.local.", "box.": "box.local.", "Box.LOCAL": "Box.local.", "a.b.local.": "a.b.local.",
		"_http._tcp": "_http._tcp.local.", "Our Web._http._TCP": "Our Web._http._TCP.local.",
	} {
		got, err := local(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got.String())
	}
	for _, name := range []string{"example.com", "example.com.", "box.locals", "notlocal.x"} {
		_, err := local(name)
		require.ErrorContains(t, err, "not in the domain local", name)
	}
	for _, name := range []string{"http", "http._tcp", "_http", "_http.local", "_tcp", "_http._tcpx"} {
		_, err := serviceType(name)
		require.ErrorContains(t, err, "looks like _http._tcp", name)
	}
	for _, name := range []string{"_http._tcp", "_http._tcp.local.", "_printer._sub._http._tcp", "_services._dns-sd._udp"} {
		_, err := serviceType(name)
		require.NoError(t, err, name)
	}
}

func TestAnnounceDoesNotAnswer(t *testing.T) {
	_, lo, port := announced(t, "-name", "Web", "-host", "box", "_http._tcp", "8080")
	q := udp.NewQueue(8, udp.Block)
	c, err := udp.ListenMulticast(t.Context(), "udp4", ":0", q)
	require.NoError(t, err)
	defer c.Close()
	ifi, err := net.InterfaceByName(lo)
	require.NoError(t, err)
	group := netip.AddrPortFrom(groups["udp4"], netip.MustParseAddrPort("0.0.0.0:"+port).Port())

	pack := func(m dnsmessage.Message) []byte {
		b, err := m.Pack()
		require.NoError(t, err)
		return b
	}
	ours := questions(dnsmessage.MustNewName("box.local."), dnsmessage.TypeA)
	// Each has an ID of its own; one sender's datagrams stay in order, so when the
	// last is the only one that has been answered the others were not.
	wrong := map[string][]byte{
		"nothing":                {},
		"garbage":                []byte("M-SEARCH * HTTP/1.1\r\n\r\n"),
		"a response":             pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Questions: ours}),
		"another operation":      pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 2, OpCode: 4}, Questions: ours}),
		"no question":            pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 3}}),
		"a type that isn't here": pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 4}, Questions: questions(ours[0].Name, dnsmessage.TypeMX)}),
		"another host":           pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 8}, Questions: questions(dnsmessage.MustNewName("fox.local."), dnsmessage.TypeA)}),
		"a question cut short":   pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 5}, Questions: ours})[:15],
	}
	for name, b := range wrong {
		_, err := c.SendGroup(b, group.Addr(), group.Port(), ifi)
		require.NoError(t, err, name)
	}
	// Nor what comes to this host alone.
	require.NoError(t, c.SendTo(pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 6}, Questions: ours}),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), group.Port())))
	_, err = c.SendGroup(pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: ours}), group.Addr(), group.Port(), ifi)
	require.NoError(t, err)

	var m dnsmessage.Message
	d, err := q.Receive(t.Context())
	require.NoError(t, err)
	if runtime.GOOS == "linux" { // others do not report it
		require.Equal(t, 255, d.TTL(), "of a reply to one host (RFC 6762, section 11)")
	}
	require.NoError(t, m.Unpack(d.Data))
	require.Equal(t, uint16(7), m.ID)
	require.Equal(t, ours, m.Questions)
	require.Len(t, m.Answers, 1)
	require.Equal(t, dnsmessage.ClassINET, m.Answers[0].Header.Class, "without the cache-flush bit")
	require.LessOrEqual(t, m.Answers[0].Header.TTL, uint32(10))
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		nil, {"seek"}, {"announce"}, {"announce", "_http._tcp"}, {"announce", "_http._tcp", "http"},
		{"announce", "_http._tcp", "65536"}, {"announce", "-name", "a.b", "_http._tcp", "1"},
		{"announce", "-host", strings.Repeat("x", 64), "-name", "x", "_http._tcp", "1"},
		{"announce", "_http._tcp", "1", strings.Repeat("x", 256)}, {"announce", "_http.._tcp", "1"},
		{"announce", "-interface", "no such", "_http._tcp", "1"},
		{"browse"}, {"browse", "http"}, {"browse", "a", "b"}, {"browse", "-port", "0", "_http._tcp"}, {"browse", strings.Repeat("x.", 200)},
		{"query"}, {"query", "-type", "LOC", "x"}, {"query", "-port", "65536", "x"}, {"query", "a..b"}, {"query", "example.com"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard), "%v", args)
	}
}

func TestMdnsHelps(t *testing.T) {
	help := func(args []string, stdout io.Writer) error { return run(t.Context(), args, stdout) }
	program.Helps(t, help)
	program.Helps(t, help, "announce")
	program.Helps(t, help, "browse")
	program.Helps(t, help, "query")
}
