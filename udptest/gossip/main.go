// Gossip is a group of processes that monitor each other with SWIM, and a simulation of ten
// thousand of them. One node crashes, one joins, and a plot shows how the news spreads.
//
//	gossip [-nodes n] [-for duration] [-loss share] [-svg file]
//	gossip -real [-nodes n] [-for duration] [-period duration]
//
// By default time is virtual and the network is simulated by package udptest. With -real the
// same nodes use sockets on the loopback interface.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

const about = `Gossip is a group of nodes that monitor each other, simulated or on loopback. One node
crashes, one joins, and a report says how the news spreads.

usage: gossip [flags]`

func main() {
	s, err := parse(os.Args[1:], os.Stdout)
	switch {
	case err == nil && s.real:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, s, os.Stdout)
	case err == nil:
		simulateAsTest(s)
	}
	exit(err)
}

func exit(err error) {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "gossip:", err)
	os.Exit(1)
}

func parse(args []string, stdout io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("gossip", flag.ContinueOnError)
	flags.IntVar(&s.nodes, "nodes", 10000, "`number` of nodes")
	flags.DurationVar(&s.length, "for", 10*time.Minute, "how long they gossip")
	flags.DurationVar(&s.period, "period", 2*time.Second, "how often each node probes another")
	flags.Float64Var(&s.loss, "loss", 0.1, "`share` of datagrams that the simulated network loses")
	flags.Uint64Var(&s.seed, "seed", 1, "what chance begins with")
	flags.StringVar(&s.svg, "svg", "", "`file` for a plot of the spread")
	flags.BoolVar(&s.real, "real", false, "gossip over real sockets")
	flags.SetOutput(io.Discard) // main reports the error
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stdout, about)
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.nodes < 2 || s.nodes > 1<<20:
		return s, fmt.Errorf("%d nodes: there must be 2 at least, and 2^20 at most", s.nodes)
	case s.length <= 0 || s.period <= 0:
		return s, errors.New("-for or -period is not positive")
	}
	if least := 5 * instant; !s.real && s.period < least {
		return s, fmt.Errorf("a period of %v: a simulated one takes %v at least", s.period, least)
	}
	lossy := false
	flags.Visit(func(f *flag.Flag) { lossy = lossy || f.Name == "loss" })
	if s.real && lossy {
		return s, errors.New("real sockets lose nothing: -loss is for the simulation")
	}
	return s, s.faults().Validate()
}

// faults returns the faults of the link that each node sends by.
func (s settings) faults() udptest.Faults {
	return udptest.Faults{Loss: s.loss, Latency: 5 * time.Millisecond, Jitter: 45 * time.Millisecond}
}

// run lets the nodes gossip over real sockets, for s.length or until ctx ends.
func run(ctx context.Context, s settings, stdout io.Writer) error {
	g := newGroup(s)
	g.open = func(i int) (*node, error) {
		return newNode(udp.Config{}, "127.0.0.1:0", s.period, s.seed<<32+uint64(i))
	}
	return g.run(ctx, stdout)
}

// simulate lets the nodes gossip over a simulated network. In a synctest bubble it takes
// virtual time.
func simulate(s settings, stdout io.Writer) error {
	// The heap is large and most of it is long-lived: collecting it less often takes a tenth
	// less time and a tenth more memory.
	defer debug.SetGCPercent(debug.SetGCPercent(150))
	g := newGroup(s)
	n := udptest.NewNet(nil, udptest.Config{Seed: s.seed, Tick: instant})
	var hosts []*udptest.Host
	g.open = func(i int) (*node, error) {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		hosts = append(hosts, n.Host(fmt.Sprintf("node%d", i), addr.String()))
		hosts[i].Out().Set(s.faults())
		node, err := newNode(hosts[i].Config(), netip.AddrPortFrom(addr, 7946).String(), s.period, s.seed<<32+uint64(i))
		if err == nil {
			node.grain = instant
		}
		return node, err
	}
	g.kill = func(i int) { hosts[i].Crash() }
	return g.run(context.Background(), stdout)
}

// simulateAsTest simulates in virtual time and exits. synctest.Test takes a *testing.T, which
// only a test binary gets in a documented way, so the program runs as one. It exits before
// package testing prints a result.
func simulateAsTest(s settings) {
	testing.Init()
	_ = flag.CommandLine.Parse(nil) // the arguments are ours
	match := func(string, string) (bool, error) { return true, nil }
	testing.Main(match, []testing.InternalTest{{Name: "gossip", F: func(t *testing.T) {
		var err error
		synctest.Test(t, func(*testing.T) { err = simulate(s, os.Stdout) })
		exit(err)
	}}}, nil, nil)
}
