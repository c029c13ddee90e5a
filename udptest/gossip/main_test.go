package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
)

// asProgram makes the test binary run the program itself, to capture everything that it
// writes.
const asProgram = "GOSSIP_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func simulation(t *testing.T, args ...string) string {
	s, err := parse(args, io.Discard)
	require.NoError(t, err)
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, simulate(s, &out))
		require.Equal(t, s.length-instant/4, time.Since(began))
	})
	return out.String()
}

func TestNewsReachesEverybodyInSpiteOfLoss(t *testing.T) {
	plot := filepath.Join(t.TempDir(), "spread.svg")
	out := simulation(t, "-nodes", "200", "-for", "4m", "-svg", plot)
	require.Contains(t, out, "a crash is suspected: known to 199 of 199")
	require.Contains(t, out, "a new member is known: known to 199 of 199")
	require.Contains(t, out, "believed dead: 0 times")

	f, err := os.Open(plot)
	require.NoError(t, err)
	defer f.Close()
	curves := 0
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" && e.Attr[0].Value == "none" {
			curves++
		}
	}
	require.Equal(t, 2, curves)
}

func TestASimulationRepeatsExactly(t *testing.T) {
	args := []string{"-nodes", "100", "-for", "20s", "-loss", "0.4"}
	for _, more := range [][]string{
		nil, {"-for", "2s", "-period", "125ms"}, {"-for", "1030ms", "-period", "51ms"},
	} {
		args := append(slices.Clone(args), more...)
		first := simulation(t, args...)
		for _, procs := range []int{1, 2, 4} {
			before := runtime.GOMAXPROCS(procs)
			again := simulation(t, args...)
			runtime.GOMAXPROCS(before)
			require.Equal(t, first, again, "GOMAXPROCS %d, %v", procs, more)
		}
	}
	require.NotEqual(t, simulation(t, args...), simulation(t, append(args, "-seed", "2")...))
}

func TestRealSocketsGossip(t *testing.T) {
	const count = 10
	heard := make(chan netip.AddrPort, 100*count)
	var nodes []*node
	for i := range count {
		n, err := newNode(udp.Config{}, "127.0.0.1:0", 20*time.Millisecond, uint64(i))
		require.NoError(t, err)
		defer n.stop()
		nodes = append(nodes, n)
	}
	victim := nodes[3]
	for _, n := range nodes {
		n.onNews = func(n *node, u update, _ state) {
			if u.member == victim.self && u.state == dead {
				heard <- n.self
			}
		}
	}
	r := newRoster(nodes)
	for _, n := range nodes {
		n.start(r, false)
	}
	victim.stop()
	who := make(map[netip.AddrPort]bool)
	for len(who) < count-1 {
		select {
		case n := <-heard:
			who[n] = true
		case <-time.After(time.Minute):
			t.Fatalf("only %d have heard of the death", len(who))
		}
	}
	require.NotContains(t, who, victim.self)
}

func TestRealRunReports(t *testing.T) {
	s, err := parse([]string{"-real", "-nodes", "5", "-for", "200ms", "-period", "20ms"}, io.Discard)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), s, &out))
	require.Regexp(t, `^5 nodes and one that joined, 200ms, \d+ datagrams sent`, out.String())
}

func TestRealRunThatIsInterruptedReports(t *testing.T) {
	s, err := parse([]string{"-real", "-nodes", "5", "-for", "1h"}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	var out bytes.Buffer
	require.NoError(t, run(ctx, s, &out))
	require.Regexp(t, `^5 nodes, \d\S*s, \d+ datagrams sent[^\n]*\nsuspicions`, out.String())
	require.NotContains(t, out.String(), "1h")
}

func TestSimulationWritesNothingButItsReport(t *testing.T) {
	for args, want := range map[string]string{
		"":          `^20 nodes and one that joined, 20s, (.|\n)* times$`,
		"-svg /dev": `^20 nodes and one that joined(.|\n)* times\ngossip: open /dev: `,
	} {
		cmd := exec.Command(os.Args[0], append([]string{"-nodes", "20", "-for", "20s"}, strings.Fields(args)...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, err := cmd.CombinedOutput()
		require.Regexp(t, want, strings.TrimSuffix(string(out), "\n"))
		require.Equal(t, args == "", err == nil)
	}
}

func TestNewsIsWhatChangesSomething(t *testing.T) {
	is := func(i uint32, s state) update { return update{incarnation: i, state: s} }
	for _, tt := range []struct {
		name     string
		new, old update
		want     bool
	}{
		{"a suspicion of the same incarnation is", is(1, suspect), is(1, alive), true},
		{"a contradiction is of a higher one", is(1, alive), is(1, suspect), false},
		{"a contradiction is", is(2, alive), is(1, suspect), true},
		{"an old suspicion is not", is(1, suspect), is(2, alive), false},
		{"a death is", is(1, dead), is(1, suspect), true},
		{"the same again is not", is(1, dead), is(1, dead), false},
		{"a return from the dead is", is(2, alive), is(1, dead), true},
	} {
		require.Equal(t, tt.want, tt.new.news(tt.old), tt.name)
	}
}

func TestMessagesAreReadAsTheyWereWritten(t *testing.T) {
	for _, member := range []string{"10.0.0.1:7946", "[fd00::1]:1"} {
		a := netip.MustParseAddrPort(member)
		b := appendUpdate(appendAddr(appendHeader(nil, request, 77), a), update{a, 5, suspect})
		k, number, target, rest, err := cutHeader(b)
		require.NoError(t, err)
		require.Equal(t, []any{request, uint32(77), a}, []any{k, number, target})
		u, rest, err := cutUpdate(rest)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, update{a, 5, suspect}, u)
		for n := range b {
			if _, _, _, rest, err := cutHeader(b[:n]); err == nil {
				_, _, err = cutUpdate(rest)
				require.Error(t, err, "cut after %d", n)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		b := make([]byte, random.IntN(40))
		for i := range b {
			b[i] = byte(random.IntN(20))
		}
		if _, _, _, rest, err := cutHeader(b); err == nil {
			_, _, _ = cutUpdate(rest)
		}
	}
}

func TestWrongFlagsAreErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"unexpected argument":            {"x"},
		"there must be 2 at least":       {"-nodes", "1"},
		"not positive":                   {"-for", "0"},
		"takes 50ms at least":            {"-period", "49ms"},
		"not from 0 to 1":                {"-loss", "2"},
		"real sockets lose nothing":      {"-real", "-loss", "0.1"},
		"flag provided but not defined:": {"-nonsense"},
	} {
		_, err := parse(args, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

func TestGossipHelps(t *testing.T) {
	var out bytes.Buffer
	_, err := parse([]string{"-h"}, &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Regexp(t, `(?s)^[A-Z][^\n]{20}.*\.\n\nusage: `, out.String())
}
