package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Case is what is measured once in each round.
type Case struct {
	Kind   string `json:"kind"`
	Source string `json:"source,omitempty"` // of a receiver's datagrams: gso or plain
	Size   int    `json:"size"`
	Who    string `json:"who"`
}

// A Figure is a Case's result in one round. With Void it is none.
type Figure struct {
	Case
	Round    int     `json:"round"`
	Rate     float64 `json:"rate,omitempty"`   // datagrams a second
	CPU      float64 `json:"cpu_ns,omitempty"` // of the measured process, for each datagram
	Sent     uint64  `json:"sent"`
	Received uint64  `json:"received"`
	Dropped  uint64  `json:"dropped"` // by the kernel: datagrams
	P50      float64 `json:"p50_us,omitempty"`
	P99      float64 `json:"p99_us,omitempty"`
	P999     float64 `json:"p999_us,omitempty"`
	Memory   float64 `json:"memory,omitempty"` // bytes a socket: Go's heap and stacks
	Resident float64 `json:"resident,omitempty"`
	Other    float64 `json:"other"` // share of the machine that went elsewhere meanwhile
	Void     string  `json:"void,omitempty"`
}

func (f Figure) String() string {
	at := fmt.Sprintf("%s %s %s %d: ", f.Kind, f.Who, f.Source, f.Size)
	switch {
	case f.Void != "":
		return at + "VOID: " + f.Void
	case f.Kind == idle:
		return at + fmt.Sprintf("%.0f bytes a socket, resident %.0f", f.Memory, f.Resident)
	case f.Kind == ping:
		return at + fmt.Sprintf("%.0f/s, p50 %.1f µs, p99 %.1f µs", f.Rate, f.P50, f.P99)
	}
	return at + fmt.Sprintf("%.0f/s, %.0f ns, %d sent, %d received, %d dropped", f.Rate, f.CPU, f.Sent, f.Received, f.Dropped)
}

// measure runs one case. Whatever goes wrong makes the figure void.
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
	case flood, ping:
		f, used, err = s.echo(ctx, c)
	case idle:
		f, used, err = s.idle(ctx, c)
	}
	// What the start of a program costs is counted as other too, hence the floor.
	if other := busyTime() - busy - time.Duration(used); other > 0 {
		f.Other = float64(other) / float64(time.Since(began)) / cores()
	}
	if err != nil {
		f.Void = err.Error()
	}
	return f
}

var sources = map[string]string{"gso": "gso", "plain": "sendto"}

// receive measures what a receiver takes from a sender in C.
func (s *settings) receive(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	way, ok := sources[c.Source]
	if !ok {
		return f, 0, fmt.Errorf("no source %q", c.Source)
	}
	in, out, drops, err := s.pair(ctx, c, s.command(c, "receive"), []string{s.bin + "/ref", "send", way})
	if err != nil {
		return f, 0, err
	}
	lost := drops
	if in.Trains {
		lost *= out.Segments // all of the source's trains are full
	}
	f = figure(in.Counted, in.Seconds, in.CPU, in.Received)
	f.Sent, f.Received, f.Dropped = out.Sent, in.Received, lost
	switch {
	case in.Bad > 0 || in.Disorder > 0:
		err = fmt.Errorf("%d datagrams were not as sent, %d not in order", in.Bad, in.Disorder)
	case in.Received+lost != out.Sent:
		err = fmt.Errorf("%d received and %d dropped are not the %d sent", in.Received, lost, out.Sent)
	case in.Lost > lost:
		err = fmt.Errorf("%d are missing in the numbers, but the kernel dropped %d", in.Lost, lost)
	}
	return f, in.CPU + out.CPU, err
}

// send measures what a sender gives to the kernel, with a receiver in C.
func (s *settings) send(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	in, out, drops, err := s.pair(ctx, c, []string{s.bin + "/ref", "receive", "spin"}, s.command(c, "send"))
	if err != nil {
		return f, 0, err
	}
	f = figure(out.Sent, out.Seconds, out.CPU, out.Sent)
	f.Sent, f.Received, f.Dropped = out.Sent, in.Received, out.Sent-in.Received
	err = account(in, drops, out)
	return f, in.CPU + out.CPU, err
}

// longest is how many segments a kernel takes in one train at the most.
const longest = 128

// account compares what was sent with what came, where the kernel's drops are
// trains of unknown length.
func account(in outcome, drops uint64, out outcome) error {
	lost := out.Sent - in.Received
	switch {
	case in.Bad > 0 || in.Disorder > 0:
		return fmt.Errorf("%d datagrams were not as sent, %d not in order", in.Bad, in.Disorder)
	case out.Errors > 0:
		return fmt.Errorf("%d sends failed", out.Errors)
	case in.Received > out.Sent:
		return fmt.Errorf("%d received, %d sent", in.Received, out.Sent)
	case lost < drops || lost > drops*longest:
		return fmt.Errorf("%d received of %d, but the kernel dropped %d trains", in.Received, out.Sent, drops)
	case in.Lost > lost:
		return fmt.Errorf("%d are missing in the numbers, %d in the sum", in.Lost, lost)
	}
	return nil
}

// echo measures an echo server with a client in C.
func (s *settings) echo(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	server, out, drops, err := s.pair(ctx, c, s.command(c, "echo"), []string{s.bin + "/ref", c.Kind, "-"})
	if err != nil {
		return f, 0, err
	}
	lost := drops
	if server.Trains {
		lost *= out.Segments
	}
	f = figure(out.Counted, out.Seconds, server.CPU, server.Received)
	f.Sent, f.Received, f.Dropped = out.Sent, out.Received, out.Sent-out.Received
	f.P50, f.P99, f.P999 = float64(out.P50)/1e3, float64(out.P99)/1e3, float64(out.P999)/1e3
	switch {
	case c.Kind == ping && out.Timeouts > 0:
		err = fmt.Errorf("a reply was lost, or took 3 seconds")
	case server.Received+lost != out.Sent:
		err = fmt.Errorf("server: %d received and %d dropped are not the %d sent", server.Received, lost, out.Sent)
	case server.Sent+server.Errors != server.Received:
		err = fmt.Errorf("server: %d replies and %d errors for %d received", server.Sent, server.Errors, server.Received)
	default: // the way back, where it may make trains of any length
		err = account(out, out.Drops, outcome{Sent: server.Sent, Errors: out.Errors})
	}
	return f, server.CPU + out.CPU, err
}

// pair runs a server, and a client that ends by itself, and says what the kernel
// dropped on the server's socket.
func (s *settings) pair(ctx context.Context, c Case, server, client []string) (in, out outcome, drops uint64, err error) {
	p, err := s.start(ctx, s.receiver, server, "size", c.Size)
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
	switch {
	case strings.HasPrefix(c.Who, "c-gso"):
		args = append(args, "segments", longest) // or what the kernel takes
	case c.Kind == flood:
		// No more than 2 MiB, which fits into the sockets' buffers.
		args = append(args, "window", min(1024, 2<<20/c.Size))
	}
	p, err := s.start(ctx, s.sender, command, args...)
	if err != nil {
		return outcome{}, err
	}
	defer p.kill()
	return p.finish()
}

// idle measures what sockets cost that have received once.
func (s *settings) idle(ctx context.Context, c Case) (f Figure, used uint64, err error) {
	p, err := s.start(ctx, "", s.command(c, "idle"), "sockets", s.sockets)
	if err != nil {
		return f, 0, err
	}
	defer p.kill()
	out, err := p.finish()
	if err != nil {
		return f, 0, err
	}
	f.Sent, f.Received = out.Sent, out.Received
	f.Memory, f.Resident = float64(out.Heap)/float64(out.Sockets), float64(out.Resident)/float64(out.Sockets)
	if out.Received != out.Sent {
		err = fmt.Errorf("%d received of %d sent", out.Received, out.Sent)
	}
	return f, out.CPU, err
}

func figure(counted uint64, seconds float64, cpu, handled uint64) Figure {
	var f Figure
	if seconds > 0 {
		f.Rate = float64(counted) / seconds
	}
	if handled > 0 {
		f.CPU = float64(cpu) / float64(handled)
	}
	return f
}
