package main

import (
	"encoding/xml"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name string
		of   []float64
		want float64
	}{
		{"of nothing", nil, 0},
		{"of one", []float64{7}, 7},
		{"of an odd number", []float64{9, 1, 2}, 2},
		{"of an even number", []float64{4, 1, 3, 2}, 2.5},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, median(test.of)) })
	}
}

// A ratio is taken within a round, and a void figure takes part in none.
func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	ours, base := Case{Kind: send, Size: 64, Who: "udp-batch"}, Case{Kind: send, Size: 64, Who: "net"}
	r := &record{}
	for round, rates := range [][2]float64{{10, 1}, {4, 2}, {30, 10}, {999, 1}} {
		f, g := Figure{Case: ours, Round: round, Rate: rates[0]}, Figure{Case: base, Round: round, Rate: rates[1]}
		if round == 3 {
			f.Void = "lost count"
		}
		r.Figures = append(r.Figures, f, g)
	}
	require.Equal(t, 3.0, r.ratio(ours, base, rate), "of 10, 2 and 3")
	require.Equal(t, 10.0, r.median(ours, rate))
	require.Equal(t, 1, r.voids())
}

// What does not add up is void.
func TestAccount(t *testing.T) {
	for _, test := range []struct {
		name    string
		in      outcome
		drops   uint64
		out     outcome
		balance bool
	}{
		{"all came", outcome{Received: 100}, 0, outcome{Sent: 100}, true},
		{"a train was dropped", outcome{Received: 36, Lost: 64}, 1, outcome{Sent: 100}, true},
		{"one is missing, none was dropped", outcome{Received: 99}, 0, outcome{Sent: 100}, false},
		{"more are missing than a train has", outcome{Received: 1}, 1, outcome{Sent: 200}, false},
		{"drops of datagrams that came", outcome{Received: 99}, 2, outcome{Sent: 100}, false},
		{"one came twice", outcome{Received: 101}, 0, outcome{Sent: 100}, false},
		{"one was not as sent", outcome{Received: 100, Bad: 1}, 0, outcome{Sent: 100}, false},
		{"one overtook another", outcome{Received: 100, Disorder: 1}, 0, outcome{Sent: 100}, false},
		{"a send failed", outcome{Received: 99}, 0, outcome{Sent: 99, Errors: 1}, false},
		{"the numbers have more gaps than the sum", outcome{Received: 99, Lost: 2}, 1, outcome{Sent: 100}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := account(test.in, test.drops, test.out)
			require.Equal(t, test.balance, err == nil, "%v", err)
		})
	}
}

// The kernel's tables tell what waits for a port and what was dropped.
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

// The document of a run with a figure for everything has a row for everybody,
// and its plot is well-formed.
func TestDocument(t *testing.T) {
	r := &record{Runs: 3, Seconds: 1, Receiver: "1", Sender: "0"}
	for kind, ks := range contenders {
		for i, k := range ks {
			for _, c := range fullCases(kind) {
				c.Who = k.Name
				for round := range r.Runs {
					r.Figures = append(r.Figures, Figure{Case: c, Round: round, Rate: 1e6 / float64(i+1), CPU: 100, P50: 1, P99: 2, P999: 3, Memory: 100, Resident: 100})
				}
			}
		}
	}
	require.True(t, r.complete())
	file := filepath.Join(t.TempDir(), "all.json")
	require.NoError(t, r.save(file))
	again, err := load(file)
	require.NoError(t, err)
	require.Equal(t, r.Figures, again.Figures)

	text := r.markdown()
	for _, ks := range contenders {
		for _, k := range ks {
			require.True(t, strings.Contains(text, k.Label), k.Label)
		}
	}
	require.Equal(t, 1, strings.Count(text, "| void"), "the row that counts the void figures")
	for _, target := range r.targets() {
		require.NotZero(t, target.reached, target.What)
		require.True(t, strings.Contains(text, target.What), target.What)
	}
	require.Len(t, r.targets(), 31)

	d := xml.NewDecoder(strings.NewReader(r.plot()))
	for {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}

	first := Case{Kind: receive, Source: "gso", Size: 64, Who: "asyncio"}
	for i := range r.Figures {
		if r.Figures[i].Case == first {
			r.Figures[i].Void = "lost count"
		}
	}
	require.Equal(t, 3, strings.Count(r.markdown(), "| void"), "and two cells of the void case")
}
