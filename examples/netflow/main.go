// Netflow collects NetFlow version 5 exports and adds up the flows, packets and bytes of each
// router, and the flows that were lost on the way, until SIGINT or SIGTERM.
//
//	netflow [-listen host:port] [-sockets n] [-every duration]
//
// It opens several sockets on one port, by default one per processor, if the system can balance
// them. Behind them, Workers keep the exports of each engine of a router in order, whatever port
// they come from, which is necessary to count lost flows.
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

const headerSize, recordSize, maxRecords = 24, 48, 30 // of version 5, bytes; records of an export
const maxExporters = 10_000                           // anybody can send, from forged addresses too

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "netflow:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("netflow", flag.ContinueOnError)
	listen := flags.String("listen", ":2055", "`address` to listen on")
	sockets := flags.Int("sockets", 0, "how many sockets; 0 is one per processor")
	every := flags.Duration("every", time.Minute, "how often to print")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || *every <= 0 {
		return cmp.Or(err, errors.New("takes flags only, and -every must be positive"))
	}
	cfg.ReadBuffer = 8 << 20 // routers export in bursts
	col := &collector{exporters: make(map[exporter]*totals)}
	seed := maphash.MakeSeed()
	key := func(d udp.Datagram) uint64 { return maphash.Comparable(seed, exporterOf(d)) }
	w, err := udp.NewWorkers(udp.WorkersConfig{Key: key, Handler: col})
	if err != nil {
		return err
	}
	// One Workers behind all sockets, because an exporter may send to several of them.
	g, err := cfg.ListenGroup(ctx, *sockets, "udp", *listen, func(int) udp.Handler { return w })
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on %v with %d sockets\n", g.LocalAddrPort(), len(g.Conns()))
	ticks := time.NewTicker(*every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			col.report(stdout)
			continue
		case <-ctx.Done():
		case <-g.Done():
		}
		err := g.Run(ctx, 5*time.Second)
		col.report(stdout)
		fmt.Fprintln(stdout, "sockets:", g.Stats().Total)
		return err
	}
}

// exporter is one engine of a router, which numbers its flows.
type exporter struct {
	router netip.Addr
	engine uint8
}

func exporterOf(d udp.Datagram) exporter {
	e := exporter{router: d.From.Addr()}
	if len(d.Data) >= headerSize {
		e.engine = d.Data[21]
	}
	return e
}

type totals struct {
	exports, flows, packets, bytes, lost uint64
	next                                 uint32 // sequence number of the next flow
}

// collector is the Handler of all workers.
type collector struct {
	udp.BaseHandler
	mu        sync.Mutex
	exporters map[exporter]*totals
}

func (col *collector) Received(_ *udp.Conn, d udp.Datagram) {
	b := d.Data
	n := (len(b) - headerSize) / recordSize // records
	if n < 1 || n > maxRecords || len(b) != headerSize+n*recordSize ||
		binary.BigEndian.Uint16(b) != 5 || int(binary.BigEndian.Uint16(b[2:])) != n {
		d.Drop()
		return
	}
	var packets, bytes uint64
	for r := range slices.Chunk(b[headerSize:], recordSize) {
		packets += uint64(binary.BigEndian.Uint32(r[16:]))
		bytes += uint64(binary.BigEndian.Uint32(r[20:]))
	}
	sequence := binary.BigEndian.Uint32(b[16:])

	col.mu.Lock()
	defer col.mu.Unlock()
	t := col.exporters[exporterOf(d)]
	if t == nil {
		if len(col.exporters) == maxExporters {
			d.Drop()
			return
		}
		t = &totals{next: sequence}
		col.exporters[exporterOf(d)] = t
	}
	// If an export is late, or the router has restarted, nothing is lost.
	t.lost += uint64(max(int32(sequence-t.next), 0))
	t.next = sequence + uint32(n)
	t.exports, t.flows, t.packets, t.bytes = t.exports+1, t.flows+uint64(n), t.packets+packets, t.bytes+bytes
}

func (col *collector) report(out io.Writer) {
	col.mu.Lock()
	defer col.mu.Unlock()
	for e, t := range col.exporters {
		fmt.Fprintf(out, "%v engine %d: %d exports, %d flows, %d lost, %d packets, %d bytes\n", e.router, e.engine, t.exports, t.flows, t.lost, t.packets, t.bytes)
	}
}
