package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedianAndSpread(t *testing.T) {
	for _, test := range []struct {
		name string
		of   rounds
		want float64
		text string
	}{
		{"of nothing", nil, 0, "–"},
		{"of one round", rounds{0: 7}, 7, "7.00"},
		{"of an odd number", rounds{0: 9, 1: 1, 2: 2}, 2, "2.00 ±100%"},
		{"of two", rounds{0: 1, 1: 3}, 2, "2.00 ±25%"},
		{"with one far off", rounds{0: 9, 1: 10, 2: 11, 3: 10, 4: 9000}, 10, "10.0 ±5%"},
		{"of an even number", rounds{0: 4, 1: 1, 2: 3, 3: 2}, 2.5, "2.50 ±30%"},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, test.of.median())
			require.Equal(t, test.text, test.of.String())
		})
	}
}

// A ratio is taken within a round, and an invalid figure is part of none.
func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	ours, base := Case{Kind: send, Size: 64, Entry: "udp-batch"}, Case{Kind: send, Size: 64, Entry: "net"}
	r := &record{}
	for round, rates := range [][2]float64{{10, 1}, {4, 2}, {30, 10}, {999, 1}} {
		f, g := Figure{Case: ours, Round: round, Rate: rates[0]}, Figure{Case: base, Round: round, Rate: rates[1]}
		if round == 3 {
			f.Invalid = "the counters do not agree"
		}
		r.Figures = append(r.Figures, f, g)
	}
	require.Equal(t, 3.0, r.ratios(ours, base, rate).median(), "of 10, 2 and 3")
	require.Equal(t, 10.0, r.values(ours, rate).median())
	require.Equal(t, 1, r.invalid())
}

// Figures whose datagrams are not all accounted for are invalid.
func TestAccount(t *testing.T) {
	for _, test := range []struct {
		name  string
		in    outcome
		drops uint64
		out   outcome
		valid bool
	}{
		{"all arrived", outcome{Received: 100}, 0, outcome{Sent: 100}, true},
		{"a coalesced packet was dropped", outcome{Received: 36, Lost: 64}, 1, outcome{Sent: 100}, true},
		{"one is missing, none was dropped", outcome{Received: 99}, 0, outcome{Sent: 100}, false},
		{"more are missing than a packet has segments", outcome{Received: 1}, 1, outcome{Sent: 200}, false},
		{"more drops than missing datagrams", outcome{Received: 99}, 2, outcome{Sent: 100}, false},
		{"one arrived twice", outcome{Received: 101}, 0, outcome{Sent: 100}, false},
		{"one was not as sent", outcome{Received: 100, Bad: 1}, 0, outcome{Sent: 100}, false},
		{"one overtook another", outcome{Received: 100, Disorder: 1}, 0, outcome{Sent: 100}, false},
		{"a send failed", outcome{Received: 99}, 0, outcome{Sent: 99, Errors: 1}, false},
		{"the numbers have more gaps than the sum", outcome{Received: 99, Lost: 2}, 1, outcome{Sent: 100}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := account(test.in, test.drops, test.out)
			require.Equal(t, test.valid, err == nil, "%v", err)
		})
	}
}

func TestExact(t *testing.T) {
	for _, test := range []struct {
		name       string
		in         outcome
		lost, sent uint64
		valid      bool
	}{
		{"all arrived", outcome{Received: 100}, 0, 100, true},
		{"the kernel dropped some", outcome{Received: 36, Lost: 64}, 64, 100, true},
		{"one is missing", outcome{Received: 99}, 0, 100, false},
		{"one arrived twice", outcome{Received: 101}, 0, 100, false},
		{"one overtook another", outcome{Received: 100, Disorder: 1}, 0, 100, false},
		{"the numbers have more gaps than the sum", outcome{Received: 99, Lost: 2}, 1, 100, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := exact(test.in, test.lost, test.sent)
			require.Equal(t, test.valid, err == nil, "%v", err)
		})
	}
}

// The kernel's tables have the bytes queued for a port and the packets dropped.
func TestQueue(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer pc.Close()
	port := pc.LocalAddr().(*net.UDPAddr).Port
	bytes, drops, err := queue(port)
	require.NoError(t, err)
	require.Zero(t, bytes)
	require.Zero(t, drops)
	sent := 0
	for ; drops == 0; sent++ {
		require.Less(t, sent, 1_000_000, "no buffer is that large")
		_, err = pc.WriteTo(make([]byte, 8192), pc.LocalAddr())
		require.NoError(t, err)
		bytes, drops, err = queue(port)
		require.NoError(t, err)
	}
	require.NotZero(t, bytes)
	require.EqualValues(t, 1, drops)
}

// A paused program does nothing, and continues afterwards.
func TestPause(t *testing.T) {
	p, err := new(settings).start(context.Background(), "", []string{"sh", "-c",
		`trap 'echo "{\"sent\":7}"; kill $!; exit 0' CONT; sleep 100 & echo "{\"port\":1}"; wait`})
	require.NoError(t, err)
	defer p.kill()
	_, err = p.line() // now it waits for SIGCONT
	require.NoError(t, err)
	require.NoError(t, p.pause())
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(t, err)
	_, state, _ := strings.Cut(string(stat), ") ")
	require.Equal(t, "T", state[:1], "stopped by a signal, see proc_pid_stat(5)")
	require.NoError(t, p.resume())
	out, err := p.finish()
	require.NoError(t, err)
	require.EqualValues(t, 7, out.Sent)
}

// wholeRun has a figure for everything.
func wholeRun() *record {
	r := &record{Runs: 3, Seconds: 1, Receiver: "1", Sender: "0"}
	for i, c := range allCases() {
		for round := range r.Runs {
			r.Figures = append(r.Figures, Figure{Case: c, Round: round, Rate: 1e6 / float64(i+1), CPU: 100, P50: 1, P99: 2, P999: 3,
				Longest: 4, Reply31: 155, Memory: 100, Resident: 100, Procs: c.Cores})
		}
	}
	return r
}

// Every base of a ratio is an entry that is measured wherever its kind is.
func TestBasesAreMeasured(t *testing.T) {
	measured := map[Case]bool{}
	for _, c := range allCases() {
		require.False(t, measured[c], "twice: %v", c)
		measured[c] = true
	}
	for c := range measured {
		require.NotEmpty(t, c.entry().Program, c)
		for _, base := range c.kind().Bases {
			require.True(t, measured[c.to(base)], "%v is compared with %s", c, base)
		}
	}
}

// Each flag selects the cases that it names.
func TestCasesByFlags(t *testing.T) {
	s := settings{only: "relay,receive,dial", sizes: "256", cores: "2", sources: "plain", entries: regexp.MustCompile("^(udp|net)$")}
	cs, err := s.cases()
	require.NoError(t, err)
	require.Equal(t, []Case{
		{relay, "", 256, 2, "udp"}, {relay, "", 256, 2, "net"},
		{receive, "plain", 256, 2, "udp"}, {receive, "plain", 256, 2, "net"},
		{dial, "", 64, 2, "udp"}, {dial, "", 64, 2, "net"},
	}, cs)
	s.only = "nothing"
	_, err = s.cases()
	require.ErrorContains(t, err, `no kind "nothing"`)
}

// The quick run starts every program in every variant.
func TestQuickRunHasEveryEntry(t *testing.T) {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	s := settings{quick: true, only: strings.Join(names, ","), cores: "1,2", sources: "gso,plain", entries: regexp.MustCompile("")}
	cs, err := s.cases()
	require.NoError(t, err)
	started := map[[2]string]bool{}
	for _, c := range cs {
		started[[2]string{c.Kind, c.Entry}] = true
	}
	for _, c := range allCases() {
		require.True(t, started[[2]string{c.Kind, c.Entry}], "%v", c)
	}
}

// The document of a whole run has a row for each entry in each table, and its
// plot is well-formed.
func TestDocument(t *testing.T) {
	r := wholeRun()
	require.True(t, r.complete())
	file := filepath.Join(t.TempDir(), "all.json")
	require.NoError(t, r.save(file))
	loaded, err := load(file)
	require.NoError(t, err)
	require.Equal(t, r.Figures, loaded.Figures)

	text := r.markdown()
	one, both, found := strings.Cut(text, "## Every process on both cores")
	require.True(t, found)
	for _, k := range kinds {
		for _, e := range k.Entries {
			row := e.Label + " (" + e.Name + ")"
			require.True(t, strings.Contains(one, row), row)
			if e.inGo() && k.Both {
				require.True(t, strings.Contains(both, row), row)
			}
		}
	}
	require.NotContains(t, text, "| invalid |  |")
	require.Equal(t, 1, strings.Count(text, "| invalid"), "the row that counts the invalid figures")

	d := xml.NewDecoder(strings.NewReader(r.plot()))
	for {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}

	first := Case{Kind: receive, Source: "gso", Size: 64, Cores: 1, Entry: "asyncio"}
	for i := range r.Figures {
		if r.Figures[i].Case == first {
			r.Figures[i].Invalid = "the counters do not agree"
		}
	}
	require.Equal(t, 3, strings.Count(r.markdown(), "| invalid"), "and two cells of the invalid case")
}
