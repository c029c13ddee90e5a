package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// notes are written by hand: what limits the figures that are not reached.
//
//go:embed notes.md
var notes string

// document writes performance.md and its plot.
func (r *record) document(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "performance.svg"), []byte(r.plot()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "performance.md"), []byte(r.markdown()), 0o644)
}

func (r *record) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Performance\n")
	p("Written by `bench/run`; [bench/README.md](../bench/README.md) says how it measures. Don't edit it:")
	p("run that again.\n")
	p("![Datagrams a second: receiving, echo and sending, beside C, net and others](performance.svg)\n")

	m := r.Machine
	p("## The run\n")
	if !r.complete() {
		p("This was not a whole run: its figures are rough.\n")
	}
	p("| | |\n| --- | --- |")
	p("| command | `%s` |", strings.TrimSpace(r.Command))
	p("| when | %s, for %s |", r.Began.UTC().Format("2 January 2006"), r.Took.Round(time.Minute))
	p("| machine | %s, %d cores, %d GiB |", m.CPU, m.Cores, m.MemoryGiB)
	p("| kernel | %s; loopback |", m.Kernel)
	p("| compilers | %s; %s -O2; %s |", m.Go, m.Compiler, m.Python)
	p("| placement | receivers and servers on core %s, senders and clients on core %s, so GOMAXPROCS is %d |",
		r.Receiver, r.Sender, r.procs())
	p("| rounds | %d, each pair %g s in each |", r.Runs, r.Seconds)
	p("| other programs | took %.0f%% of the machine (median) |", 100*r.other())
	p("| void | %d of %d figures: their datagrams were not all accounted for |\n", r.voids(), len(r.Figures))

	p("## What was aimed at\n")
	p("| ratio, of medians in each round | wanted | measured | |\n| --- | --- | --- | --- |")
	for _, t := range r.targets() {
		verdict := "reached"
		if t.verdict() != verdict {
			verdict = "**not reached**"
		}
		p("| %s | %s | %s | %s |", t.What, t.wanted(), ratio(t.reached), verdict)
	}
	p("")
	if notes := strings.TrimSpace(notes); notes != "" {
		p("%s\n", notes)
	}

	p("## What did not get faster\n")
	p("%s\n", strings.Join(r.noFaster(), "\n"))

	p("## All figures\n")
	p("Rates are datagrams a second: the median, then its ratios to the best of C (for round trips, to C")
	p("recvfrom, sendto) and to a net.UDPConn loop, each the median of the rounds' ratios. Where the kernel")
	p("dropped nothing (✓) the receiver kept up, and the rate is its sender's.\n")
	for _, set := range sets {
		r.tables(p, set.kind, set.source)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// procs is what Go makes of the cores of receivers.
func (r *record) procs() int {
	n := 0
	for part := range strings.SplitSeq(r.Receiver, ",") {
		low, high := 0, 0
		if k, _ := fmt.Sscanf(part, "%d-%d", &low, &high); k == 2 {
			n += high - low + 1
		} else {
			n++
		}
	}
	return n
}

// sets are what has a heading of its own.
var sets = []struct{ kind, source string }{
	{receive, "gso"}, {receive, "plain"}, {send, ""}, {flood, ""}, {ping, ""}, {idle, ""},
}

var headings = map[string]string{
	receive + "gso":   "Receiving, from a sender with UDP_SEGMENT",
	receive + "plain": "Receiving, from a plain sender",
	send:              "Sending",
	flood:             "Echo under flood: 1,024 datagrams outstanding, from a client with UDP_SEGMENT",
	ping:              "Round trips: 1 datagram outstanding",
	idle:              "Memory of sockets that have received one datagram and wait",
}

// sizes are those that a kind was measured with.
func (r *record) sizes(kind, source string) (sizes []int) {
	for _, f := range r.Figures {
		if f.Kind == kind && f.Source == source && !slices.Contains(sizes, f.Size) {
			sizes = append(sizes, f.Size)
		}
	}
	return sizes
}

// tables writes what there is of a kind, with a column for each size.
func (r *record) tables(p func(string, ...any), kind, source string) {
	sizes := r.sizes(kind, source)
	if len(sizes) == 0 {
		return
	}
	p("### %s\n", headings[kind+source])
	if kind == flood {
		p("At 8,192 bytes only 256 are outstanding, which the sockets' buffers can hold.\n")
	}
	table := func(what string, cell func(c Case) string) {
		head, rule := "| "+what, "| ---"
		for _, size := range sizes {
			if kind == idle {
				head += " | heap and stacks | resident"
				rule += " | ---: | ---:"
			} else {
				head += fmt.Sprintf(" | %d bytes", size)
				rule += " | ---:"
			}
		}
		p("%s |\n%s |", head, rule)
		for _, k := range contenders[kind] {
			label := k.Label
			if k.ours() {
				label = "**" + label + "**"
			}
			line := "| " + label
			for _, size := range sizes {
				c := Case{Kind: kind, Source: source, Size: size, Who: k.Name}
				switch {
				case r.median(c, func(Figure) float64 { return 1 }) == 1:
					line += " | " + cell(c)
				case r.voidReason(c) != "":
					line += " | void"
				default:
					line += " | –"
				}
			}
			p("%s |", line)
		}
		p("")
	}
	beside := func(c Case, v value) string {
		text := ""
		for _, who := range baselines[kind] {
			base := c
			base.Who = who
			text += " · " + ratio(r.ratio(c, base, v))
		}
		return text
	}
	switch kind {
	case idle:
		table("bytes a socket, ratio to net", func(c Case) string {
			return short(r.median(c, memory)) + beside(c, memory) + " | " + short(r.median(c, resident)) + beside(c, resident)
		})
		return
	case ping:
		table("p50 / p99 / p99.9, µs", func(c Case) string {
			return short(r.median(c, p50)) + " / " + short(r.median(c, p99)) + " / " + short(r.median(c, p999))
		})
	}
	table(map[string]string{ping: "round trips a second · to C · to net"}[kind]+
		map[bool]string{true: "datagrams a second · to C · to net"}[kind != ping], func(c Case) string {
		text := short(r.median(c, rate)) + beside(c, rate)
		if kind == receive && r.loss(c) == 0 {
			text += " ✓"
		}
		return text
	})
	table("CPU nanoseconds a datagram", func(c Case) string { return short(r.median(c, cpuEach)) })
}

// noFaster lists where package udp gains less than a tenth on a net.UDPConn
// loop, with what it costs there.
func (r *record) noFaster() []string {
	var lines []string
	for _, set := range sets {
		for _, k := range contenders[set.kind] {
			var cells []string
			if !k.ours() || set.kind == idle {
				continue
			}
			for _, size := range r.sizes(set.kind, set.source) {
				c := Case{Kind: set.kind, Source: set.source, Size: size, Who: k.Name}
				base := c
				base.Who = "net"
				if v := r.ratio(c, base, rate); v > 0 && v < 1.1 {
					cells = append(cells, fmt.Sprintf("%d: %s (%s)", size, ratio(v), ratio(r.ratio(c, base, cpuEach))))
				}
			}
			if len(cells) > 0 {
				lines = append(lines, fmt.Sprintf("| %s | %s | %s |", headings[set.kind+set.source], k.Label, strings.Join(cells, ", ")))
			}
		}
	}
	if len(lines) == 0 {
		return []string{"Nothing: each way of using package udp has at least 1.1 times the rate of a net.UDPConn loop."}
	}
	return append([]string{
		"Where package udp has less than 1.1 times the rate of a net.UDPConn loop, and in parentheses the CPU time of",
		"a datagram beside that loop's:", "",
		"| | | bytes: rate (CPU) |", "| --- | --- | --- |"}, lines...)
}
