package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const basic = "urn:schemas-upnp-org:device:Basic:2"

func start(t *testing.T, args ...string) *program.Program {
	t.Helper()
	return program.RunWith(t, run, args...)
}

// present starts a device on the loopback interface, which answers at once, and
// returns it with its group.
func present(t *testing.T) (p *program.Program, lo *net.Interface, group string) {
	t.Helper()
	lo = program.Loopback(t)
	p = start(t, "device", "-interface", lo.Name, "-group", "239.255.255.250:0", "-delay", "0", "-uuid", "1-2", basic, "urn:a:service:b:1")
	return p, lo, p.Line(`^uuid:1-2 is in (\S+)`)[1]
}

func TestSearchFindsWhatItAsksFor(t *testing.T) {
	_, lo, group := present(t)
	const from = ` at http://127\.0\.0\.1/description\.xml, a `
	for _, test := range []struct {
		target string
		want   []string
	}{
		{"upnp:rootdevice", []string{`^uuid:1-2::upnp:rootdevice` + from + `upnp:rootdevice, says`}},
		{"uuid:1-2", []string{`^uuid:1-2` + from + `uuid:1-2, says`}},
		{basic, []string{`^uuid:1-2::` + basic + from + basic}},
		{"urn:schemas-upnp-org:device:Basic:1", []string{`^uuid:1-2::urn:schemas-upnp-org:device:Basic:1` + from + `urn:schemas-upnp-org:device:Basic:1`}},
		{"ssdp:all", []string{`a upnp:rootdevice`, `a uuid:1-2`, `a ` + basic, `a urn:a:service:b:1`}},
	} {
		n := string(rune('0' + len(test.want)))
		client := start(t, "search", "-interface", lo.Name, "-group", group, "-wait", "1m", "-count", n, test.target)
		lines := client.Rest()
		require.NoError(t, client.Err())
		require.Len(t, lines, len(test.want))
		for _, want := range test.want {
			require.True(t, slices.ContainsFunc(lines, func(line string) bool {
				return regexp.MustCompile(want).MatchString(line)
			}), "%s in %q", want, lines)
		}
	}
}

func TestDeviceSendsAliveAndByebye(t *testing.T) {
	lo := program.Loopback(t)
	heard := udp.NewQueue(64, udp.Block)
	c, err := udp.Config{ReuseAddr: true}.ListenMulticast(t.Context(), "udp4", ":0", heard)
	require.NoError(t, err)
	defer c.Close()
	group := netip.AddrPortFrom(netip.MustParseAddr("239.255.255.250"), c.LocalAddrPort().Port())
	require.NoError(t, c.Join(group.Addr(), lo))

	next := func() http.Header {
		d, err := heard.Receive(t.Context())
		require.NoError(t, err)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(d.Data)))
		require.NoError(t, err)
		require.Equal(t, "NOTIFY", r.Method)
		require.Equal(t, group.String(), r.Host)
		return r.Header
	}
	names := []string{"upnp:rootdevice", "uuid:1", basic}
	device := start(t, "device", "-interface", lo.Name, "-group", group.String(), "-uuid", "1", "-location", "https://{host}:1/x", "-max-age", "40s", basic)
	for _, name := range names {
		h := next()
		require.Equal(t, "ssdp:alive", h.Get("NTS"))
		require.Equal(t, name, h.Get("NT"))
		require.Equal(t, "max-age=40", h.Get("CACHE-CONTROL"))
		require.Equal(t, "https://127.0.0.1:1/x", h.Get("LOCATION"))
	}
	device.Line("^uuid:1 is in")
	device.Stop()
	require.NoError(t, device.Err())
	for h := next(); ; h = next() {
		if h.Get("NTS") == "ssdp:alive" {
			continue // once more
		}
		for i, name := range names {
			if i > 0 {
				h = next()
			}
			require.Equal(t, "ssdp:byebye", h.Get("NTS"))
			require.Equal(t, name, h.Get("NT"))
		}
		return
	}
}

func TestDeviceDoesNotAnswer(t *testing.T) {
	device, lo, at := present(t)
	group := netip.MustParseAddrPort(at)
	q := udp.NewQueue(8, udp.Block)
	c, err := udp.ListenMulticast(t.Context(), "udp4", ":0", q)
	require.NoError(t, err)
	defer c.Close()
	search := func(man, mx, st string) []byte {
		return message("M-SEARCH * HTTP/1.1", "HOST", at, "MAN", man, "MX", mx, "ST", st)
	}
	const man = `"ssdp:discover"`
	// One sender's datagrams stay in order, and the answers here are not delayed, so
	// one answer says that only the last was answered.
	for _, b := range [][]byte{
		nil, []byte("garbage"), search(man, "1", "upnp:rootdevice")[:40],
		search("ssdp:discover", "1", "upnp:rootdevice"), search(man, "0", "upnp:rootdevice"),
		search(man, "", "upnp:rootdevice"), search(man, "x", "upnp:rootdevice"), search(man, "1", ""),
		search(man, "1", "uuid:1-3"), search(man, "1", "urn:schemas-upnp-org:device:Basic:3"),
		search(man, "1", "urn:schemas-upnp-org:device:Basic:0"), search(man, "1", "urn:schemas-upnp-org:device:Basic"),
		message("M-SEARCH /x HTTP/1.1", "HOST", at, "MAN", man, "MX", "1", "ST", "upnp:rootdevice"),
		message("NOTIFY * HTTP/1.1", "HOST", at, "MAN", man, "MX", "1", "ST", "upnp:rootdevice"),
		message("HTTP/1.1 200 OK", "ST", "upnp:rootdevice", "USN", "uuid:9"),
	} {
		_, err := c.SendGroup(b, group.Addr(), group.Port(), lo)
		require.NoError(t, err)
	}
	// Nor what comes to this host alone.
	require.NoError(t, c.SendTo(search(man, "1", "ssdp:all"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), group.Port())))
	_, err = c.SendGroup(search(man, "1", "uuid:1-2"), group.Addr(), group.Port(), lo)
	require.NoError(t, err)
	d, err := q.Receive(t.Context())
	require.NoError(t, err)
	h, ok := parseAnswer(d.Data)
	require.True(t, ok)
	require.Equal(t, "uuid:1-2", h.Get("USN"))
	device.Line(` searches uuid:1-2$`)
	device.Stop()
	require.NoError(t, device.Err())
	require.Empty(t, q.Datagrams())
}

func TestSearchWithNoAnswer(t *testing.T) {
	err := run(t.Context(), []string{"search", "-interface", program.Loopback(t).Name, "-group", "239.255.255.250:9", "-wait", "1ns", "ssdp:all"}, io.Discard)
	require.ErrorContains(t, err, "0 answers")
}

func TestInterruptedSearchReportsHowLongItTook(t *testing.T) {
	_, lo, group := present(t)
	client := start(t, "search", "-interface", lo.Name, "-group", group, "-wait", "1h", "-count", "2", "uuid:1-2")
	client.Line(`^uuid:1-2 at`)
	client.Stop()
	require.ErrorContains(t, client.Err(), "1 answers in ")
	require.NotContains(t, client.Err().Error(), "1h")
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		nil, {"seek"}, {"device"}, {"search"}, {"search", "a", "b"}, {"search", "a\r\nb"}, {"search", "-group", "x", "a"},
		{"search", "-group", "127.0.0.1:1900", "a"}, {"device", "-group", "127.0.0.1:0", "a"},
		{"device", "-interface", "no such", "a"}, {"device", "-location", "a b", "a"}, {"device", "-max-age", "1s", "a"},
	} {
		require.Error(t, run(t.Context(), args, io.Discard), "%v", args)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(message("M-SEARCH * HTTP/1.1", "HOST", "239.255.255.250:1900", "MAN", `"ssdp:discover"`, "MX", "1", "ST", basic))
	f.Add(message("HTTP/1.1 200 OK", "EXT", "", "ST", basic, "USN", "uuid:1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseAnswer(data)
		if target, wait, ok := parseSearch(data); ok {
			require.NotEmpty(t, target)
			require.Positive(t, wait)
			if as, ok := matches(basic, target); ok {
				require.NotContains(t, as, "\n")
			}
		}
	})
}

func TestSsdpHelps(t *testing.T) {
	help := func(args []string, stdout io.Writer) error { return run(t.Context(), args, stdout) }
	program.Helps(t, help)
	program.Helps(t, help, "device")
	program.Helps(t, help, "search")
}
