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

// notes is the part about what limits the figures, which is written by hand.
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

// A printer writes one line of the document, or several.
type printer func(format string, args ...any)

func (r *record) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Performance\n")
	p("`bench/run` writes this page; [bench/README.md](../bench/README.md) says how it measures. Do not edit it:")
	p("run that again.\n")
	p("![Datagrams per second: receiving, echo and sending, beside C, net and others](performance.svg)\n")
	r.run(p)
	if notes := strings.TrimSpace(notes); notes != "" {
		p("%s\n", notes)
	}
	p("## What did not get faster\n")
	p("%s\n", strings.Join(r.noFaster(), "\n"))

	p("## A core for each process\n")
	p("Each cell has the median over the rounds, then its ratios to the rows that the head names: each the median")
	p("of the rounds' ratios. A ± is half the distance between the quartiles of the rounds, in percent of the median.\n")
	for _, k := range kinds {
		r.section(p, k, 1)
	}
	p("## Every process on both cores\n")
	p("Here GOMAXPROCS is %d, and no process is pinned to one core. C's programs have one thread as before.\n", r.procs(2))
	for _, k := range kinds {
		r.section(p, k, 2)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// run describes the run: the command, the time, the machine and the versions.
func (r *record) run(p printer) {
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
	p("| package udp | %s |", m.Revision)
	p("| compilers | %s; %s -O2; %s |", m.Go, m.Compiler, m.Python)
	p("| compared with | %s |", strings.Join(m.Versions, ", "))
	p("| placement | receivers and servers on core %s, senders and clients on core %s, so GOMAXPROCS is %d; then all on both |",
		r.Receiver, r.Sender, r.procs(1))
	p("| rounds | %d, each pair %g s in each |", r.Runs, r.Seconds)
	p("| other programs | used %.0f%% of the machine (median), which includes starting those measured |", 100*r.other())
	p("| invalid | %d of %d figures: their datagrams were not all accounted for |\n", r.invalid(), len(r.Figures))
}

// procs returns the GOMAXPROCS of package udp's programs.
func (r *record) procs(cores int) int {
	for _, f := range r.Figures {
		if f.Cores == cores && f.Kind != idle && f.Procs > 0 {
			return f.Procs
		}
	}
	return cores
}

// A set is the tables under one heading of a section.
type set struct {
	kind   kind
	source string
	cores  int
}

func (s set) heading() string {
	if s.source == "" {
		return s.kind.Heading
	}
	return s.kind.Heading + ", " + sourceNames[s.source]
}

func (s set) of(e entry, size int) Case {
	return Case{Kind: s.kind.Name, Source: s.source, Size: size, Cores: s.cores, Entry: e.Name}
}

func (k kind) sets(cores int) (sets []set) {
	if len(k.Sources) == 0 {
		return []set{{k, "", cores}}
	}
	for _, source := range k.Sources {
		sets = append(sets, set{k, source, cores})
	}
	return sets
}

// sizes are those that a set was measured with.
func (r *record) sizes(s set) (sizes []int) {
	for _, f := range r.Figures {
		if f.Kind == s.kind.Name && f.Source == s.source && f.Cores == s.cores && !slices.Contains(sizes, f.Size) {
			sizes = append(sizes, f.Size)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// section writes the tables of a kind: one for each metric, with a column for each size, or a
// single one for all metrics if there is one size.
func (r *record) section(p printer, k kind, cores int) {
	for _, s := range k.sets(cores) {
		sizes := r.sizes(s)
		if len(sizes) == 0 {
			continue
		}
		p("### %s\n", s.heading())
		if k.Note != "" {
			p("%s\n", k.Note)
		}
		if len(k.Sizes) == 1 {
			var cols []string
			for _, m := range k.Metrics {
				cols = append(cols, m.head(k))
			}
			r.table(p, s, "", cols, func(e entry) (cells []string) {
				for _, m := range k.Metrics {
					cells = append(cells, r.cell(s.of(e, sizes[0]), m))
				}
				return cells
			})
			continue
		}
		var cols []string
		for _, size := range sizes {
			cols = append(cols, fmt.Sprintf("%d bytes", size))
		}
		for _, m := range k.Metrics {
			r.table(p, s, m.head(k), cols, func(e entry) (cells []string) {
				for _, size := range sizes {
					cells = append(cells, r.cell(s.of(e, size), m))
				}
				return cells
			})
		}
	}
}

// head names a metric and the bases of its ratios.
func (m metric) head(k kind) string {
	text := m.Title
	if m.Ratios {
		for _, base := range k.Bases {
			text += " · to " + base
		}
	}
	return text
}

func (r *record) table(p printer, s set, corner string, cols []string, cells func(entry) []string) {
	p("| %s | %s |\n| --- |%s", corner, strings.Join(cols, " | "), strings.Repeat(" ---: |", len(cols)))
	for _, e := range s.kind.Entries {
		line := cells(e)
		if !slices.ContainsFunc(line, func(c string) bool { return c != missing }) {
			continue
		}
		label := e.Label + " (" + e.Name + ")"
		if e.ours() {
			label = "**" + label + "**"
		}
		p("| %s | %s |", label, strings.Join(line, " | "))
	}
	p("")
}

// missing is the cell of a case that was not measured.
const missing = "–"

func (r *record) cell(c Case, m metric) string {
	vs := r.values(c, m.value)
	if len(vs) == 0 {
		if r.invalidReason(c) != "" {
			return "invalid"
		}
		return missing
	}
	text := vs.String()
	if m.Ratios {
		for _, base := range c.kind().Bases {
			text += " · " + r.ratios(c, c.to(base), m.value).String()
		}
	}
	if c.Kind == receive && m.Title == rateOf.Title && r.loss(c) == 0 {
		text += " ✓"
	}
	return text
}

// noFaster lists the cases in which package udp has less than 1.1 times the rate of a net.UDPConn
// loop, with the ratio of CPU time.
func (r *record) noFaster() []string {
	var lines []string
	for _, k := range kinds {
		if !slices.Contains([]string{receive, send, echo, workers, relay, ping}, k.Name) {
			continue
		}
		for _, s := range k.sets(1) {
			for _, e := range k.Entries {
				var cells []string
				for _, size := range r.sizes(s) {
					c := s.of(e, size)
					if v := r.ratios(c, c.to("net"), rate).median(); e.ours() && v > 0 && v < 1.1 {
						cells = append(cells, fmt.Sprintf("%d: %s (%s)", size, short(v), short(r.ratios(c, c.to("net"), cpuEach).median())))
					}
				}
				if len(cells) > 0 {
					lines = append(lines, fmt.Sprintf("| %s | %s | %s |", s.heading(), e.Label, strings.Join(cells, ", ")))
				}
			}
		}
	}
	if len(lines) == 0 {
		return []string{"Nothing: each way of using package udp has at least 1.1 times the rate of a net.UDPConn loop."}
	}
	return append([]string{
		"Where package udp has less than 1.1 times the rate of a net.UDPConn loop, and in parentheses its CPU time per",
		"datagram as a ratio to that loop's:", "",
		"| | | bytes: rate (CPU) |", "| --- | --- | --- |"}, lines...)
}
