package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// The whole way of each format, over real sockets, with the embedded server.
func TestEachFormat(t *testing.T) {
	for _, tc := range []struct {
		name, format, in, subject, want string
	}{
		{"raw", "raw", "\x00\xffany", "udp.raw", "\x00\xffany"},
		{"an empty datagram", "raw", "", "udp.raw", ""},
		{"syslog", "syslog", "<13>hello", "udp.syslog", `"message":"hello"`},
		{"statsd", "statsd", "a:1|c", "udp.statsd", `"metrics":[{"name":"a","type":"c","value":1}]`},
		{"netflow", "netflow", string(netflow5(1)), "udp.netflow", `"flows":[{"sourceIPv4Address":"10.0.0.1"`},
		{"malformed", "netflow", "hello", "udp.netflow.malformed", "hello"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.Inputs[0].Format = tc.format
			c := collect(t, cfg, options{})
			ready(t, c)
			s := dial(t, c.address())
			s.send(tc.in)
			eventually(t, "it is accepted", func() bool { return c.safe() == 1 })
			m := readStream(t, c.stream.js, cfg.NATS.Stream).only(t)
			require.NoError(t, c.Shutdown())
			require.Equal(t, tc.subject, m.subject)
			require.Contains(t, m.data, tc.want)
			if tc.format == "raw" || tc.name == "malformed" {
				require.Equal(t, s.LocalAddr().String(), m.header.Get(sourceHeader))
				_, err := time.Parse(time.RFC3339Nano, m.header.Get(receivedHeader))
				require.NoError(t, err)
				require.Equal(t, tc.name == "malformed", m.header.Get(faultHeader) != "")
				return
			}
			var o origin
			require.NoError(t, json.Unmarshal([]byte(m.data), &o))
			require.Equal(t, s.LocalAddr().String(), o.Source.String())
		})
	}
}

// While the stream is away datagrams are spooled, and then all are in the stream.
func TestOutage(t *testing.T) {
	dir := t.TempDir()
	nats := startNATS(t, dir, server.RANDOM_PORT)
	port := nats.Addr().(*net.TCPAddr).Port
	var all accepted
	cfg := testConfig(t)
	cfg.NATS.URL = nats.ClientURL()
	cfg.NATS.AckTimeout = defaults().NATS.AckTimeout
	c := collect(t, cfg, options{accepted: all.add})
	ready(t, c)
	s := dial(t, c.address())
	s.numbers(c, 0, 500)
	n := &c.sources[0].counters
	eventually(t, "all is accepted", func() bool { return c.safe() == 500 })
	stopNATS(nats)
	s.numbers(c, 500, 3000)
	eventually(t, "all is spooled", func() bool { return c.safe() == 3500 })
	require.NotZero(t, n.spool.Load())

	nats = startNATS(t, dir, port)
	defer stopNATS(nats)
	s.numbers(c, 3500, 500) // while the spool is replayed
	eventually(t, "the spool is in the stream", func() bool { return !c.spool.Pending() && c.safe() == 4000 })
	ready(t, c)
	s.numbers(c, 4000, 500)
	eventually(t, "all is accepted", func() bool { return c.safe() == 4500 })
	result := readStream(t, c.stream.js, cfg.NATS.Stream)
	require.NoError(t, c.Shutdown())
	all.requireStored(t, result)
	require.Len(t, result.numbers, 4500)
	require.Equal(t, n.received.Load(), c.safe())
	require.Equal(t, n.spool.Load(), c.publisher.replayed.Load())
}

// When the spool is full as well, drops are counted, in all and by source.
func TestDropsAreCountedBySource(t *testing.T) {
	if l, err := net.ListenPacket("udp", "127.0.0.2:0"); err != nil {
		t.Skip("127.0.0.1 is the only loopback address here: ", err)
	} else {
		require.NoError(t, l.Close())
	}
	cfg := testConfig(t)
	cfg.NATS.URL = "nats://127.0.0.1:1" // nobody
	cfg.Spool = SpoolConfig{MaxBytes: 1 << 20, SegmentBytes: 1 << 20}
	c := collect(t, cfg, options{})
	n := &c.sources[0].counters
	payload := strings.Repeat("x", 60_000)
	var sent uint64
	fill := func(s sender, enough func() bool) {
		for !enough() {
			s.send(payload)
			sent++
			eventually(t, "it is counted", func() bool { return c.safe()+n.dropped[spoolFull].Load() == sent })
		}
	}
	fill(dial(t, c.address()), func() bool { return n.dropped[spoolFull].Load() > 0 })
	require.NotZero(t, n.spool.Load())
	for i := 2; i < 2+maxSources+10; i++ {
		from := netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)})
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(c.address()))
		require.NoError(t, err)
		once := n.dropped[spoolFull].Load() + 1
		fill(sender{t, conn}, func() bool { return n.dropped[spoolFull].Load() >= once })
		require.NoError(t, conn.Close())
	}
	drops := make(map[string]uint64)
	var total uint64
	c.publisher.sources.each(func(source string, n uint64) {
		drops[source] = n
		total += n
	})
	require.Len(t, drops, maxSources+1)
	require.EqualValues(t, 1, drops["127.0.0.1"])
	require.EqualValues(t, 1, drops["127.0.0.2"])
	require.EqualValues(t, 11, drops["other"])
	require.Equal(t, n.dropped[spoolFull].Load(), total)
	require.Equal(t, n.received.Load(), c.safe()+total)
	require.LessOrEqual(t, c.spool.bytes.Load(), int64(cfg.Spool.MaxBytes))
	require.NoError(t, c.Shutdown())
}

// A stream that is full refuses, and what it has acknowledged stays.
func TestAFullStreamLosesNothing(t *testing.T) {
	var all accepted
	cfg := testConfig(t)
	cfg.NATS.MaxBytes = 64 << 10
	c := collect(t, cfg, options{accepted: all.add})
	ready(t, c)
	s := dial(t, c.address())
	s.numbers(c, 0, 3000)
	eventually(t, "all is accepted", func() bool { return c.safe() == 3000 })
	require.True(t, c.spool.Pending())
	require.NotZero(t, c.sources[0].counters.stream.Load())

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := c.stream.js.Stream(ctx, cfg.NATS.Stream)
	require.NoError(t, err)
	larger := stream.CachedInfo().Config
	larger.MaxBytes = -1
	_, err = c.stream.js.UpdateStream(ctx, larger)
	require.NoError(t, err)
	eventually(t, "the spool is in the stream", func() bool { return !c.spool.Pending() })
	result := readStream(t, c.stream.js, cfg.NATS.Stream)
	require.NoError(t, c.Shutdown())
	all.requireStored(t, result)
	require.Len(t, result.numbers, 3000)
}

// What the stream never takes is dropped and counted; it does not stop the rest.
func TestRejected(t *testing.T) {
	cfg := testConfig(t)
	nats := startNATS(t, t.TempDir(), server.RANDOM_PORT)
	defer stopNATS(nats)
	cfg.NATS.URL = nats.ClientURL()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := connect(t, nats.ClientURL()).CreateStream(ctx, jetstream.StreamConfig{
		Name: cfg.NATS.Stream, Subjects: []string{"udp.>"}, MaxMsgSize: 1000,
	})
	require.NoError(t, err)
	c := collect(t, cfg, options{})
	ready(t, c)
	s := dial(t, c.address())
	s.send(strings.Repeat("x", 2000))
	s.send("1")
	n := &c.sources[0].counters
	eventually(t, "both are settled", func() bool { return n.stream.Load() == 1 && n.dropped[rejected].Load() == 1 })

	// The same for a message that was spooled.
	_, err = c.spool.Append([]Record{{ID: "x", Input: "raw", Source: testSource, Subject: "udp.raw", Payload: make([]byte, 2000)}})
	require.NoError(t, err)
	eventually(t, "it is settled", func() bool { return n.dropped[rejected].Load() == 2 && !c.spool.Pending() })
	require.NoError(t, c.Shutdown())
}

// A stream that somebody else has made is used as it is.
func TestForeignStream(t *testing.T) {
	nats := startNATS(t, t.TempDir(), server.RANDOM_PORT)
	defer stopNATS(nats)
	js := connect(t, nats.ClientURL())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want := jetstream.StreamConfig{Name: "UDP", Subjects: []string{"udp.raw"}, Description: "mine"}
	_, err := js.CreateStream(ctx, want)
	require.NoError(t, err)
	cfg := testConfig(t)
	cfg.NATS.URL = nats.ClientURL()
	c := collect(t, cfg, options{})
	ready(t, c)
	dial(t, c.address()).numbers(c, 0, 1)
	eventually(t, "it is acknowledged", func() bool { return c.sources[0].counters.stream.Load() == 1 })
	require.NoError(t, c.Shutdown())
	stream, err := js.Stream(ctx, "UDP")
	require.NoError(t, err)
	require.Equal(t, "mine", stream.CachedInfo().Config.Description)
}

// A shutdown stores all that has arrived, and what is in the spool.
func TestShutdownStoresEverything(t *testing.T) {
	var all accepted
	cfg := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := start(ctx, cfg, options{accepted: all.add}, testLog(t))
	require.NoError(t, err)
	ready(t, c)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	_, err = c.spool.Append([]Record{{ID: "spooled", Input: "raw", Source: testSource, Subject: "udp.raw", Payload: []byte("100000")}})
	require.NoError(t, err)
	s := dial(t, c.address())
	for i := range 200 { // fit into the buffer of the socket
		s.send(strconv.Itoa(i))
	}
	cancel()
	require.NoError(t, <-ended)
	require.EqualValues(t, 200, c.safe())

	c = collect(t, cfg, options{})
	ready(t, c)
	result := readStream(t, c.stream.js, cfg.NATS.Stream)
	require.NoError(t, c.Shutdown())
	require.Len(t, result.numbers, 201)
	all.requireStored(t, result)
}

// Without a stream a shutdown does not wait for the grace period: all is in the spool.
func TestShutdownWithoutAStream(t *testing.T) {
	cfg := testConfig(t)
	embedded := cfg.NATS
	cfg.NATS.URL = "nats://127.0.0.1:1"
	cfg.Grace = time.Hour
	c := collect(t, cfg, options{})
	s := dial(t, c.address())
	s.numbers(c, 0, 100)
	require.NoError(t, c.Shutdown())
	require.EqualValues(t, 100, c.safe())

	cfg.NATS = embedded
	c = collect(t, cfg, options{})
	eventually(t, "the spool is in the stream", func() bool { return c.stream.ready.Load() && !c.spool.Pending() })
	require.Len(t, readStream(t, c.stream.js, cfg.NATS.Stream).numbers, 100)
	require.NoError(t, c.Shutdown())
}

// A collector takes over from another one while datagrams arrive, and none is lost.
func TestTakeover(t *testing.T) {
	cfg := testConfig(t)
	old := collect(t, cfg, options{})
	ready(t, old)
	_, err := start(t.Context(), cfg, options{}, testLog(t))
	require.ErrorContains(t, err, "another collector uses")

	address := old.address()
	s := dial(t, address)
	s.numbers(old, 0, 500)
	cfg.Inputs[0].Address = address.String()
	started := make(chan *Collector, 1)
	waiting := &waitFor{text: "waiting for the other collector", found: make(chan string, 1)}
	go func() {
		c, err := start(t.Context(), cfg, options{takeover: true}, slog.New(slog.NewTextHandler(waiting, nil)))
		if err != nil {
			t.Error(err)
		}
		started <- c
	}()
	stopped := make(chan error, 1)
	sent := 500
	var successor *Collector
	for done := false; !done; {
		if sent < 1500 { // what fits into the successor, whatever an ordinary user's socket buffers
			s.send(strconv.Itoa(sent))
			sent++
		}
		select {
		case <-waiting.found: // its sockets are open
			go func() { stopped <- old.Shutdown() }()
		case successor = <-started:
			done = true
		case <-time.After(time.Millisecond): // spread over the change
		}
	}
	require.NotNil(t, successor)
	require.NoError(t, <-stopped)
	received := func() uint64 {
		return old.sources[0].counters.received.Load() + successor.sources[0].counters.received.Load()
	}
	eventually(t, "all is received", func() bool { return received() == uint64(sent) })
	require.NotZero(t, old.safe())
	eventually(t, "all is accepted", func() bool { return old.safe()+successor.safe() == uint64(sent) && !successor.spool.Pending() })
	result := readStream(t, successor.stream.js, cfg.NATS.Stream)
	require.NoError(t, successor.Shutdown())
	require.Len(t, result.numbers, sent)
}

// What is wrong with an input or a port is reported, and nothing is left behind.
func TestStartFails(t *testing.T) {
	busy, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	for name, change := range map[string]func(*Config){
		"input": func(cfg *Config) {
			cfg.Inputs = append(cfg.Inputs, Input{Name: "b", Format: "raw", Address: busy.LocalAddr().String()})
		},
		"http": func(cfg *Config) { cfg.HTTP = listener.Addr().String() },
		"nats": func(cfg *Config) { cfg.NATS.URL = "nats://%zz" },
		"dir":  func(cfg *Config) { cfg.Dir = "/proc/nonexistent" },
		"none": func(cfg *Config) { cfg.Inputs = nil },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			change(&cfg)
			_, err := start(t.Context(), cfg, options{}, testLog(t))
			require.ErrorContains(t, err, name)
		})
	}
}

func TestRateLimit(t *testing.T) {
	cfg := testConfig(t)
	cfg.Inputs[0].Rate, cfg.Inputs[0].Burst = 0.001, 5
	c := collect(t, cfg, options{})
	s := dial(t, c.address())
	for i := range 20 {
		s.send(strconv.Itoa(i))
	}
	group := c.sources[0].group
	eventually(t, "all is received", func() bool { return group.Stats().Total.Received == 20 })
	eventually(t, "the burst is accepted", func() bool { return c.safe() == 5 })
	require.NoError(t, c.Shutdown())
	require.EqualValues(t, 15, group.Stats().Total.Dropped.Handler)
}

// The private port: metrics that Prometheus' own linter likes, the live page, health.
func TestPrivatePort(t *testing.T) {
	cfg := testConfig(t)
	cfg.HTTP = "127.0.0.1:0"
	cfg.Inputs = append(cfg.Inputs, Input{Format: "statsd", Address: "127.0.0.1:0", Rate: 1000, Malformed: dropMalformed})
	c := collect(t, cfg, options{})
	ready(t, c)
	dial(t, c.address()).numbers(c, 0, 3)
	bad := dial(t, c.sources[1].group.LocalAddrPort())
	bad.send("nonsense")
	eventually(t, "all is accepted", func() bool {
		return c.safe() == 3 && c.sources[1].counters.dropped[malformed].Load() == 1
	})
	get := func(path string) (int, string) {
		response, err := http.Get("http://" + c.private.listener.Addr().String() + path)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body)
	}
	status, body := get("/metrics")
	require.Equal(t, 200, status)
	for _, line := range []string{
		`collector_datagrams_accepted_total{by="stream",input="raw"} 3`,
		`collector_datagrams_received_total{input="raw"} 3`,
		`collector_datagrams_dropped_total{input="statsd",reason="malformed"} 1`,
		`collector_source_dropped_datagrams_total{source="127.0.0.1"} 1`,
		`collector_stream_available 1`,
		`udp_socket_received_datagrams_total{group="raw",socket="raw/0"} 3`,
		`udp_limit_`,
	} {
		require.Contains(t, body, line)
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, "# TYPE collector_"); ok {
			name, _, _ = strings.Cut(name, " ")
			require.Contains(t, string(readme), "`"+name)
		}
	}
	problems, err := testutil.CollectAndLint(own{c})
	require.NoError(t, err)
	require.Empty(t, problems)

	for path, want := range map[string]string{"/": "/debug/udp/", "/debug/udp/": "<html", "/health": "ok"} {
		status, body := get(path)
		require.Equal(t, 200, status, path)
		require.Contains(t, body, want)
	}
	status, _ = get("/nothing")
	require.Equal(t, 404, status)
	c.stream.ready.Store(false)
	status, body = get("/health")
	require.Equal(t, 503, status)
	require.Contains(t, body, "not available")
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, c.Shutdown())
}

// A client of the embedded server needs the token, where there is one.
func TestEmbeddedServerWithAToken(t *testing.T) {
	cfg := testConfig(t)
	cfg.NATS.Listen = "127.0.0.1:0"
	cfg.NATS.Token = "secret"
	c := collect(t, cfg, options{})
	ready(t, c)
	dial(t, c.address()).numbers(c, 0, 1)
	eventually(t, "it is accepted", func() bool { return c.safe() == 1 })
	_, err := nats.Connect(c.server.ClientURL())
	require.ErrorIs(t, err, nats.ErrAuthorization)
	js := connect(t, c.server.ClientURL(), nats.Token("secret"))
	require.Len(t, readStream(t, js, cfg.NATS.Stream).numbers, 1)
	js.Conn().Close()
	require.NoError(t, c.Shutdown())
}

// The program itself, as a user starts and stops it.
func TestProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	args := []string{"-dir", t.TempDir(), "-http", "127.0.0.1:0", "-input", "syslog=127.0.0.1:0",
		"-config", writeConfig(t, "[nats]\nlisten = \"\"")}
	log := &waitFor{text: "url=", found: make(chan string, 1)}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, io.Discard, log) }()
	select {
	case line := <-log.found:
		_, url, _ := strings.Cut(strings.TrimSpace(line), "url=")
		response, err := http.Get(url)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		http.DefaultClient.CloseIdleConnections()
	case err := <-ended:
		require.FailNow(t, "ended", "%v", err)
	}
	cancel()
	require.NoError(t, <-ended)
}

// waitFor is a log in which somebody waits for a line with that text.
type waitFor struct {
	text  string
	found chan string // of capacity 1
}

func (w *waitFor) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		select {
		case w.found <- string(b):
		default:
		}
	}
	return len(b), nil
}
