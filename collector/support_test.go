package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must happen. It never waits that long.
const patience = time.Minute

// testConfig is a configuration of one input of raw datagrams, on a free port.
func testConfig(t testing.TB) Config {
	cfg := defaults()
	cfg.Dir = t.TempDir()
	cfg.HTTP = ""
	cfg.NATS.Listen = ""
	cfg.Grace = patience
	cfg.NATS.AckTimeout, cfg.NATS.Duplicates = patience, patience // a busy machine is slow
	cfg.Inputs = []Input{{Format: "raw", Address: "127.0.0.1:0", Sockets: 1, Workers: 2}}
	return cfg
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// collect starts a collector, which the test must shut down.
func collect(t testing.TB, cfg Config, o options) *Collector {
	c, err := start(t.Context(), cfg, o, testLog(t))
	require.NoError(t, err)
	return c
}

// ready waits until the stream of c is available.
func ready(t testing.TB, c *Collector) {
	eventually(t, "the stream is available", c.stream.ready.Load)
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, patience, time.Millisecond, what)
}

// ask asks the servers until there is an answer. One request is not enough after a server
// was killed: the others place a consumer on it until they miss it, and elect another
// leader, and in both cases nobody answers.
func ask[T any](t testing.TB, what string, request func(context.Context) (T, error)) (answer T) {
	t.Helper()
	eventually(t, what+" answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		a, err := request(ctx)
		if err != nil {
			t.Logf("%s: %v", what, err)
			return false
		}
		answer = a
		return true
	})
	return answer
}

// sender sends to the first input of a collector.
type sender struct {
	t testing.TB
	*net.UDPConn
}

func dial(t testing.TB, to netip.AddrPort) sender {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return sender{t, conn}
}

func (c *Collector) address() netip.AddrPort { return c.sources[0].group.LocalAddrPort() }

func (s sender) send(data string) {
	_, err := s.Write([]byte(data))
	require.NoError(s.t, err)
}

// numbers sends the numbers from first on, n of them, at most ahead of what c has
// received: it would lose them in the buffer of the socket.
func (s sender) numbers(c *Collector, first, n int) {
	const ahead = 256
	counter := &c.sources[0].counters.received
	start := counter.Load()
	received := func() int { return int(counter.Load() - start) }
	for i := range n {
		s.send(strconv.Itoa(first + i))
		if i%ahead == ahead-1 {
			eventually(s.t, "datagrams are received", func() bool { return received() > i-ahead })
		}
	}
	eventually(s.t, "all datagrams are received", func() bool { return received() == n })
}

// safe is the number of datagrams that c has accepted.
func (c *Collector) safe() uint64 {
	n := &c.sources[0].counters
	return n.stream.Load() + n.spool.Load()
}

// stored are the messages of a stream.
type stored struct {
	total   int                 // of messages
	first   map[string]*message // by id
	numbers map[int][]string    // ids of the messages with that payload
}

type message struct {
	subject string
	header  nats.Header
	data    string
}

// readStream reads a stream to its end.
func readStream(t testing.TB, js jetstream.JetStream, name string) stored {
	stream := ask(t, "the stream", func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, name) })
	state := stream.CachedInfo().State
	s := stored{total: int(state.Msgs), first: make(map[string]*message), numbers: make(map[int][]string)}
	if s.total == 0 {
		return s
	}
	consumer := ask(t, "a consumer", func(ctx context.Context) (jetstream.Consumer, error) {
		return stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	})
	read := uint64(0) // sequence number
	eventually(t, "everything is read", func() bool {
		batch, err := consumer.Fetch(int(min(10_000, state.LastSeq-read)), jetstream.FetchMaxWait(2*time.Second))
		if err == nil {
			for m := range batch.Messages() {
				s.add(m)
				if meta, err := m.Metadata(); err == nil {
					read = meta.Sequence.Stream
				}
			}
			err = batch.Error()
		}
		if err != nil {
			t.Logf("after message %d of %d: %v", read, state.LastSeq, err)
		}
		return read == state.LastSeq
	})
	return s
}

// add adds a message, which may have been read before.
func (s stored) add(m jetstream.Msg) {
	id := m.Headers().Get(jetstream.MsgIDHeader)
	if s.first[id] != nil {
		return
	}
	s.first[id] = &message{m.Subject(), m.Headers(), string(m.Data())}
	if i, err := strconv.Atoi(string(m.Data())); err == nil {
		s.numbers[i] = append(s.numbers[i], id)
	}
}

// only returns the message that the stream has.
func (s stored) only(t testing.TB) *message {
	require.Len(t, s.first, 1)
	for _, m := range s.first {
		return m
	}
	return nil
}

// accepted are the numbers that collectors have accepted, for options.accepted.
type accepted struct {
	mu      sync.Mutex
	numbers map[int]bool
}

func (a *accepted) add(records []Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.numbers == nil {
		a.numbers = make(map[int]bool)
	}
	for i := range records {
		n, err := strconv.Atoi(string(records[i].Payload))
		if err != nil {
			panic(fmt.Sprintf("payload %q", records[i].Payload))
		}
		a.numbers[n] = true
	}
}

// requireStored requires that each number that was accepted is in the stream, once if
// messages of one id are one.
func (a *accepted) requireStored(t testing.TB, s stored) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n := range a.numbers {
		require.NotEmpty(t, s.numbers[n], "%d was accepted and is not in the stream", n)
	}
	for n, ids := range s.numbers {
		require.Len(t, ids, 1, "%d", n)
	}
}

// startNATS starts a server of its own, on a free port or the given one.
func startNATS(t testing.TB, dir string, port int) *server.Server {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// connect returns a JetStream client of a server.
func connect(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	conn, err := nats.Connect(url, options...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}
