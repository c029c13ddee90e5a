// Statsd adds up counters, gauges and timers that programs send as "name:value|type" (the StatsD
// protocol), and prints the sums of each interval, until SIGINT or SIGTERM.
//
//	statsd [-listen host:port] [-every duration] [-workers n]
//
// Each worker has a table of its own, chosen by the name of the metric, so that adding a value
// needs no lock that another worker wants too.
//
// Try it with: echo -n "requests:1|c" | nc -u -w1 localhost 8125
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

const maxNames = 100_000 // of each worker in an interval: names come from anybody

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "statsd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("statsd", flag.ContinueOnError)
	listen := flags.String("listen", ":8125", "`address` to listen on")
	every := flags.Duration("every", 10*time.Second, "how often to print")
	n := flags.Int("workers", 0, "goroutines; 0 is one per processor")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *every <= 0 {
		return errors.New("-every must be positive")
	}
	var tables []*table
	seed := maphash.MakeSeed()
	w, err := udp.NewWorkers(udp.WorkersConfig{
		N:        *n,
		Key:      func(d udp.Datagram) uint64 { return maphash.Bytes(seed, name(d.Data)) },
		Overflow: udp.DropNewest,
		PerWorker: func(int) udp.Handler { // called by NewWorkers
			t := &table{metrics: make(map[string]metric)}
			tables = append(tables, t)
			return t
		},
	})
	if err != nil {
		return err
	}
	c, err := cfg.Listen(ctx, "udp", *listen, w)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", c.LocalAddrPort())
	ticks := time.NewTicker(*every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			report(stdout, tables)
			continue
		case <-ctx.Done():
		case <-c.Done():
		}
		err := c.Run(ctx, 5*time.Second) // handles what has arrived
		report(stdout, tables)
		fmt.Fprintln(stdout, "socket:", c.Stats())
		return err
	}
}

// report prints the metrics of all workers by name, and begins a new interval.
func report(out io.Writer, tables []*table) {
	all := make(map[string]metric)
	for _, t := range tables {
		maps.Copy(all, t.take()) // a name is in one table only
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		m := all[key]
		fmt.Fprintf(out, "%q %g in %d values, the highest %g\n", key, m.sum, m.n, m.highest)
	}
}

type metric struct {
	sum, highest float64
	n            int
}

// table is the Handler of one worker. The lock is for report only, which comes rarely.
type table struct {
	udp.BaseHandler
	mu      sync.Mutex
	metrics map[string]metric
}

func (t *table) take() map[string]metric {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.metrics
	t.metrics = make(map[string]metric)
	return taken
}

func (t *table) Received(_ *udp.Conn, d udp.Datagram) {
	key := name(d.Data)
	value, kind, ok := bytes.Cut(bytes.TrimPrefix(d.Data[len(key):], []byte(":")), []byte("|"))
	v, err := strconv.ParseFloat(string(value), 64)
	if !ok || err != nil || len(key) == 0 {
		d.Drop() // counted in Drops.Handler
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m, known := t.metrics[string(key)]
	if !known && len(t.metrics) == maxNames {
		d.Drop()
		return
	}
	if bytes.HasPrefix(kind, []byte("g")) { // a gauge: the last value counts
		m.sum = 0
	}
	m.sum, m.n, m.highest = m.sum+v, m.n+1, max(m.highest, v)
	t.metrics[string(key)] = m
}

// name is the part before the colon.
func name(b []byte) []byte {
	before, _, _ := bytes.Cut(b, []byte(":"))
	return before
}
