package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKill kills a collector 50 times: while it starts, while it publishes, spools, or
// replays the spool. Whatever it has counted as accepted is in the stream in the end.
func TestKill(t *testing.T) {
	const kills = 50
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COLLECTOR_TEST_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	fmt.Printf("TestKill: COLLECTOR_TEST_SEED=%d\n", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var all accepted
	all.numbers = make(map[int]bool)
	sent := 0
	spooled := 0
	for range kills {
		url := "" // the embedded server
		if random.IntN(3) == 0 {
			url = "nats://127.0.0.1:1" // nobody: everything goes to the spool
			spooled++
		}
		p := startChild(t, roleCollector, dirVariable+"="+dir, urlVariable+"="+url)
		if random.IntN(5) == 0 { // at some moment of the start
			time.AfterFunc(time.Duration(random.IntN(300))*time.Millisecond, func() { _ = p.Process.Kill() })
		}
		after := random.IntN(300) // datagrams that are accepted
		if address, ok := p.value("address"); ok {
			feed(t, p, netip.MustParseAddrPort(address), &sent, after, &all)
		}
		p.kill()
		for p.lines.Scan() { // what it wrote before
			take(t, p, &all)
		}
	}
	t.Logf("sent %d, accepted %d in %d lives, of which %d had no stream", sent, len(all.numbers), kills, spooled)
	require.NotEmpty(t, all.numbers)

	cfg := testConfig(t)
	cfg.Dir = dir
	c := collect(t, cfg, options{})
	eventually(t, "the spool is in the stream", func() bool { return c.stream.ready.Load() && !c.spool.Pending() })
	s := readStream(t, c.stream.js, cfg.NATS.Stream)
	require.NoError(t, c.Shutdown())
	t.Logf("%d messages, %d without duplicates, %d bytes torn in the last life", s.total, len(s.first), c.spool.torn)
	all.requireStored(t, s)
}

// feed sends numbers, some at a time, until so many were accepted or the process ends.
func feed(t *testing.T, p *process, to netip.AddrPort, sent *int, after int, all *accepted) {
	s := dial(t, to)
	defer s.Close()
	const window = 64 // in flight: so many fit into the buffer of the socket
	flying := 0
	for n := 0; n < after; n++ {
		for ; flying < window; flying++ {
			*sent++
			if _, err := s.Write([]byte(strconv.Itoa(*sent))); err != nil {
				return // killed
			}
		}
		if !p.lines.Scan() {
			return
		}
		take(t, p, all)
		flying--
	}
}

func take(t *testing.T, p *process, all *accepted) {
	n, err := strconv.Atoi(p.lines.Text()[len("accepted "):])
	require.NoError(t, err)
	all.numbers[n] = true
}
