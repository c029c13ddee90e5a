// Statsd adds up counters, gauges and timers that programs send as lines of "name:value|type" (the
// StatsD protocol), and prints the sums of each interval, until SIGINT or SIGTERM.
//
//	statsd [-listen host:port] [-every duration] [-workers n]
//
// Each worker has a table of its own, so adding a value waits for no other worker.
//
// Try it with: echo -n "requests:1|c" | nc -u -w1 localhost 8125
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
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
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || *every <= 0 {
		return cmp.Or(err, errors.New("takes flags only, and -every must be positive"))
	}
	var tables []*table
	w, err := udp.NewWorkers(udp.WorkersConfig{ // which keep the order of each sender
		N: *n, Overflow: udp.DropNewest,
		PerWorker: func(int) udp.Handler { // called by NewWorkers
			tables = append(tables, &table{metrics: make(map[string]metric)})
			return tables[len(tables)-1]
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
		t.mu.Lock()
		for key, m := range t.metrics {
			all[key] = all[key].plus(m)
		}
		clear(t.metrics)
		t.mu.Unlock()
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		m := all[key]
		fmt.Fprintf(out, "%q %g in %d values, the highest %g\n", key, m.sum, m.n, m.highest)
	}
}

type metric struct {
	sum, highest float64
	n            int
	gauge        bool // sum is the last value: of several senders, that of one
}

// plus adds later values.
func (m metric) plus(o metric) metric {
	if m.n > 0 {
		o.n, o.highest = m.n+o.n, max(m.highest, o.highest)
	}
	if !o.gauge {
		o.sum += m.sum
	}
	return o
}

// table is the Handler of one worker. The lock is for report only, which is rarely called.
type table struct {
	udp.BaseHandler
	mu      sync.Mutex
	metrics map[string]metric
}

func (t *table) Received(_ *udp.Conn, d udp.Datagram) {
	t.mu.Lock()
	defer t.mu.Unlock()
	good := len(d.Data) > 0
	for line := range strings.Lines(string(d.Data)) {
		good = t.add(strings.TrimSpace(line)) && good
	}
	if !good {
		d.Drop() // counted in Drops.Handler
	}
}

// add adds the value of a line, and reports whether it is one.
func (t *table) add(line string) bool {
	key, rest, _ := strings.Cut(line, ":")
	fields := append(strings.Split(rest, "|"), "", "") // value, type, sample rate
	v, err := strconv.ParseFloat(fields[0], 64)
	m, known := t.metrics[key]
	if key == "" || fields[1] == "" || err != nil || !known && len(t.metrics) == maxNames {
		return false
	}
	if rate, err := strconv.ParseFloat(strings.TrimPrefix(fields[2], "@"), 64); fields[1] == "c" && err == nil && rate > 0 {
		v /= rate
	}
	t.metrics[key] = m.plus(metric{v, v, 1, fields[1] == "g"})
	return true
}
