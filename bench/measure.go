package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Case is measured once in each round.
type Case struct {
	Kind   string `json:"kind"`
	Source string `json:"source,omitempty"` // sender of a receiver's datagrams: gso or plain
	Size   int    `json:"size"`
	Cores  int    `json:"cores"` // 1: a core for each process; 2: both for all
	Entry  string `json:"entry"`
}

// A Figure is the result of a Case in one round. Nothing is computed from one with Invalid.
type Figure struct {
	Case
	Round    int     `json:"round"`
	Rate     float64 `json:"rate,omitempty"`   // datagrams per second
	CPU      float64 `json:"cpu_ns,omitempty"` // of the measured process, per datagram
	Sent     uint64  `json:"sent"`
	Received uint64  `json:"received"`
	Dropped  uint64  `json:"dropped"` // datagrams, by the kernel
	P50      float64 `json:"p50_us,omitempty"`
	P99      float64 `json:"p99_us,omitempty"`
	P999     float64 `json:"p999_us,omitempty"`
	Longest  float64 `json:"longest_us,omitempty"`
	Reply31  float64 `json:"reply31_ms,omitempty"`
	Memory   float64 `json:"memory,omitempty"` // bytes per socket: Go's heap and stacks
	Resident float64 `json:"resident,omitempty"`
	Procs    int     `json:"gomaxprocs,omitempty"` // of the measured process
	Other    float64 `json:"other"`                // share of the machine that other programs used
	Invalid  string  `json:"invalid,omitempty"`
}

func (f Figure) String() string {
	at := fmt.Sprintf("%s %s %s %d bytes, cores %d: ", f.Kind, f.Entry, f.Source, f.Size, f.Cores)
	if f.Invalid != "" {
		return at + "INVALID: " + f.Invalid
	}
	for _, m := range f.kind().Metrics {
		at += m.Title + " " + short(m.value(f)) + ", "
	}
	return at + fmt.Sprintf("%d sent, %d received, %d dropped", f.Sent, f.Received, f.Dropped)
}

// measure runs one case. Any error makes the figure invalid.
func (s *settings) measure(ctx context.Context, c Case) (f Figure) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second+time.Duration(s.seconds*float64(time.Second)))
	defer cancel()
	busy, began := busyTime(), time.Now()
	var used uint64
	var err error
	switch c.Kind {
	case receive:
		f, used, err = s.receive(ctx, c)
	case send:
		f, used, err = s.send(ctx, c)
	case peers:
		f, used, err = s.drain(ctx, c)
	case dial, idle:
		f, used, err = s.alone(ctx, c)
	default:
		f, used, err = s.echo(ctx, c)
	}
	// Starting a program counts as other, too, so this is never quite 0.
	if other := busyTime() - busy - time.Duration(used); other > 0 {
		f.Other = float64(other) / float64(time.Since(began)) / cores()
	}
	if err != nil {
		f.Invalid = err.Error()
	}
	return f
}

// place returns the cores of a process, as taskset takes them: own if each process has a core.
func (s *settings) place(c Case, own string) string {
	if c.Cores > 1 {
		return s.receiver + "," + s.sender
	}
	return own
}

var sources = map[string]string{"gso": "gso", "plain": "sendto"}

// receive measures how many datagrams a receiver reads from a sender in C.
func (s *settings) receive(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	variant, ok := sources[c.Source]
	if !ok {
		return f, 0, fmt.Errorf("no source %q", c.Source)
	}
	in, out, drops, err := s.pair(ctx, c, s.command(c, "receive"), []string{s.bin + "/ref", "send", variant})
	if err != nil {
		return f, 0, err
	}
	lost := drops
	if in.Coalesced {
		lost *= out.Segments // each segmented send of the source is full
	}
	f = figure(in.Counted, in.Seconds, in, in.Received)
	f.Sent, f.Received, f.Dropped = out.Sent, in.Received, lost
	return f, in.CPU + out.CPU, exact(in, lost, out.Sent)
}

// exact checks that each datagram sent was received or dropped by the kernel.
func exact(in outcome, lost, sent uint64) error {
	switch {
	case in.Bad > 0 || in.Disorder > 0:
		return fmt.Errorf("%d datagrams were not as sent, %d not in order", in.Bad, in.Disorder)
	case in.Received+lost != sent:
		return fmt.Errorf("%d received and %d dropped are not the %d sent", in.Received, lost, sent)
	case in.Lost > lost:
		return fmt.Errorf("%d are missing in the numbers, but the kernel dropped %d", in.Lost, lost)
	}
	return nil
}

// queued is how many datagrams wait for a receiver in drain. queuedBuffer has room for them: the
// kernel charges 768 bytes for a datagram of 64.
const (
	queued       = 40000
	queuedPeers  = 64
	queuedBuffer = 64 << 20
	drains       = 6
)

// drain measures how fast a receiver reads datagrams that are queued already. The first drain
// fills caches and pools. The rate is the median of the others; the CPU time is that of all.
func (s *settings) drain(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	p, err := s.start(ctx, s.place(c, s.receiver), s.command(c, "receive"),
		"size", c.Size, "buffer", queuedBuffer, "drain", queued)
	if err != nil {
		return f, 0, err
	}
	defer p.kill()
	at, err := p.line()
	if err != nil {
		return f, 0, err
	}
	for i := range drains {
		if err := p.pause(); err != nil {
			return f, 0, err
		}
		sender, err := s.start(ctx, s.place(c, s.sender), []string{s.bin + "/ref", "count", "-"},
			"size", c.Size, "port", at.Port, "peers", queuedPeers, "count", queued, "first", i*queued)
		if err != nil {
			return f, 0, err
		}
		defer sender.kill()
		out, err := sender.finish()
		if err != nil {
			return f, 0, err
		}
		if err := p.resume(); err != nil {
			return f, 0, err
		}
		drops, err := drained(ctx, at.Port)
		if err != nil {
			return f, 0, err
		}
		if f.Sent += out.Sent; drops > 0 {
			return f, 0, fmt.Errorf("the kernel had no room for %d of %d datagrams: needs root, or net.core.rmem_max of %d", drops, f.Sent, queuedBuffer)
		}
		used += out.CPU
	}
	in, err := p.stop()
	if err != nil {
		return f, 0, err
	}
	sent := f.Sent
	f = figure(in.Counted, in.Seconds, in, in.Received)
	f.Sent, f.Received = sent, in.Received
	return f, used + in.CPU, exact(in, 0, sent)
}

// send measures how many datagrams a sender gives to the kernel, with a receiver in C.
func (s *settings) send(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	in, out, drops, err := s.pair(ctx, c, []string{s.bin + "/ref", "receive", "spin"}, s.command(c, "send"))
	if err != nil {
		return f, 0, err
	}
	f = figure(out.Sent, out.Seconds, out, out.Sent)
	f.Sent, f.Received, f.Dropped = out.Sent, in.Received, out.Sent-in.Received
	return f, in.CPU + out.CPU, account(in, drops, out)
}

// maxSegments is how many datagrams the kernel accepts in one segmented send.
const maxSegments = 128

// account compares the datagrams sent and received. Each of the kernel's drops may be a coalesced
// packet of unknown length.
func account(in outcome, drops uint64, out outcome) error {
	lost := out.Sent - in.Received
	switch {
	case in.Bad > 0 || in.Disorder > 0:
		return fmt.Errorf("%d datagrams were not as sent, %d not in order", in.Bad, in.Disorder)
	case out.Errors > 0:
		return fmt.Errorf("%d sends failed", out.Errors)
	case in.Received > out.Sent:
		return fmt.Errorf("%d received, %d sent", in.Received, out.Sent)
	case lost < drops || lost > drops*maxSegments:
		return fmt.Errorf("%d received of %d, but the kernel dropped %d packets", in.Received, out.Sent, drops)
	case in.Lost > lost:
		return fmt.Errorf("%d are missing in the numbers, %d in the sum", in.Lost, lost)
	}
	return nil
}

// echo measures an echo server or a relay, with a client in C.
func (s *settings) echo(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	role, client := "echo", "flood"
	switch c.Kind {
	case relay:
		role, client = "relay", "flood-relay"
	case ping, burst:
		client = c.Kind
	}
	server, out, drops, err := s.pair(ctx, c, s.command(c, role), []string{s.bin + "/ref", client, "-"})
	if err != nil {
		return f, 0, err
	}
	lost := drops
	if server.Coalesced {
		lost *= out.Segments
	}
	f = figure(out.Counted, out.Seconds, server, server.Received)
	f.Sent, f.Received, f.Dropped = out.Sent, out.Received, out.Sent-out.Received
	f.P50, f.P99, f.P999 = float64(out.P50)/1e3, float64(out.P99)/1e3, float64(out.P999)/1e3
	f.Longest, f.Reply31 = float64(out.Longest)/1e3, float64(out.Reply31)/1e6
	switch {
	case c.Kind == ping && out.Timeouts > 0, c.Kind == burst && out.Received < out.Sent:
		err = fmt.Errorf("a reply was lost, or took 3 seconds")
	case server.Received+lost != out.Sent:
		err = fmt.Errorf("server: %d received and %d dropped are not the %d sent", server.Received, lost, out.Sent)
	case server.Sent+server.Errors != server.Received:
		err = fmt.Errorf("server: %d replies and %d errors for %d received", server.Sent, server.Errors, server.Received)
	default: // packets of replies may have any number of segments
		err = account(out, out.Drops, outcome{Sent: server.Sent, Errors: out.Errors})
	}
	return f, server.CPU + out.CPU, err
}

// pair runs a server, and a client that ends by itself, and returns how many
// packets the kernel dropped at the server's socket.
func (s *settings) pair(ctx context.Context, c Case, server, client []string) (in, out outcome, drops uint64, err error) {
	args := []any{"size", c.Size}
	if c.Kind == burst {
		args = append(args, "sleep", 5)
	}
	p, err := s.start(ctx, s.place(c, s.receiver), server, args...)
	if err != nil {
		return in, out, 0, err
	}
	defer p.kill()
	at, err := p.line()
	if err != nil {
		return in, out, 0, err
	}
	if out, err = s.client(ctx, client, c, at.Port); err != nil {
		return in, out, 0, err
	}
	if drops, err = drained(ctx, at.Port); err != nil {
		return in, out, 0, err
	}
	in, err = p.stop()
	return in, out, drops, err
}

// client runs a program that ends by itself, on the senders' cores.
func (s *settings) client(ctx context.Context, command []string, c Case, port int) (outcome, error) {
	args := []any{"size", c.Size, "port", port, "seconds", s.seconds}
	switch c.Kind {
	case send:
		if strings.HasPrefix(c.Entry, "c-gso") {
			args = append(args, "segments", maxSegments) // or as many as the kernel takes
		}
	case echo, relay: // no more than 2 MiB, for which the sockets' buffers have room
		args = append(args, "window", min(1024, 2<<20/c.Size))
	case workers:
		args = append(args, "window", 1024, "peers", 16)
	}
	p, err := s.start(ctx, s.place(c, s.sender), command, args...)
	if err != nil {
		return outcome{}, err
	}
	defer p.kill()
	return p.finish()
}

// alone measures a program that needs no other: dial, or idle, which uses all cores.
func (s *settings) alone(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	cores := s.place(c, s.receiver)
	args := []any{"seconds", s.seconds}
	if c.Kind == idle {
		cores, args = "", []any{"sockets", s.sockets}
	}
	p, err := s.start(ctx, cores, s.command(c, c.Kind), args...)
	if err != nil {
		return f, 0, err
	}
	defer p.kill()
	out, err := p.finish()
	if err != nil {
		return f, 0, err
	}
	f = figure(out.Counted, out.Seconds, out, out.Received)
	f.Sent, f.Received = out.Sent, out.Received
	if out.Sockets > 0 {
		f.Memory, f.Resident = float64(out.Heap)/float64(out.Sockets), float64(out.Resident)/float64(out.Sockets)
	}
	if out.Received != out.Sent {
		err = fmt.Errorf("%d received of %d sent", out.Received, out.Sent)
	}
	return f, out.CPU, err
}

// figure returns the rate of the counted datagrams and the CPU time for each datagram handled.
func figure(counted uint64, seconds float64, measured outcome, handled uint64) Figure {
	f := Figure{Procs: measured.Procs}
	if seconds > 0 {
		f.Rate = float64(counted) / seconds
	}
	if handled > 0 {
		f.CPU = float64(measured.CPU) / float64(handled)
	}
	return f
}
