package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// A column of a table.
type column struct {
	Title string
	Cell  func(r *record, c Case) string
}

// baselines are what the ratio columns compare with.
var baselines = map[string][]string{
	receive: {"c-gro", "net"}, send: {"c-gso", "net"}, flood: {"c-gro", "net"}, ping: {"c-recvfrom", "net"}, idle: {"net"},
}

func columns(kind string) []column {
	var cols []column
	switch kind {
	case idle:
		cols = append(cols,
			column{"bytes a socket", func(r *record, c Case) string { return short(r.median(c, memory)) }},
			column{"resident", func(r *record, c Case) string { return short(r.median(c, resident)) }})
	case ping:
		cols = append(cols,
			column{"round trips/s", cellRate},
			column{"p50 µs", func(r *record, c Case) string { return short(r.median(c, p50)) }},
			column{"p99 µs", func(r *record, c Case) string { return short(r.median(c, p99)) }},
			column{"p99.9 µs", func(r *record, c Case) string { return short(r.median(c, p999)) }})
	default:
		cols = append(cols, column{"datagrams/s", cellRate})
	}
	if kind != idle {
		cols = append(cols, column{"least to most", func(r *record, c Case) string {
			low, high := r.spread(c, rate)
			return short(low) + " to " + short(high)
		}})
	}
	main := rate
	if kind == idle {
		main = memory
	}
	for _, who := range baselines[kind] {
		cols = append(cols, column{"to " + who, func(r *record, c Case) string {
			base := c
			base.Who = who
			return ratio(r.ratio(c, base, main))
		}})
	}
	if kind != idle {
		cols = append(cols, column{"CPU ns each", func(r *record, c Case) string { return short(r.median(c, cpuEach)) }})
	}
	if kind == receive || kind == send || kind == flood {
		cols = append(cols, column{"dropped", func(r *record, c Case) string {
			if l := r.loss(c); l > 0 {
				return fmt.Sprintf("%.1f%%", 100*l)
			}
			return "none"
		}})
	}
	return cols
}

func cellRate(r *record, c Case) string { return short(r.median(c, rate)) }

// short writes a number with three digits, as 1.23M.
func short(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v >= 999.5e3:
		return digits(v/1e6) + "M"
	case v >= 9995:
		return digits(v/1e3) + "k"
	}
	return digits(v)
}

func digits(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func ratio(v float64) string {
	if v == 0 || math.IsInf(v, 0) {
		return "–"
	}
	return digits(v)
}

// title says what a group of cases is.
func title(c Case) string {
	switch c.Kind {
	case receive:
		from := "a sender with UDP_SEGMENT"
		if c.Source == "plain" {
			from = "a plain sender"
		}
		return fmt.Sprintf("Receive, %d bytes, from %s", c.Size, from)
	case send:
		return fmt.Sprintf("Send, %d bytes", c.Size)
	case flood:
		return fmt.Sprintf("Echo, %d bytes, %d outstanding", c.Size, min(1024, 2<<20/c.Size))
	case ping:
		return fmt.Sprintf("Echo, %d bytes, 1 outstanding", c.Size)
	}
	return "Idle sockets that have received one datagram"
}

// rows writes a group of cases: a header, and a line for each.
func (r *record) rows(group []Case, label func(contender) string) [][]string {
	cols := columns(group[0].Kind)
	head := []string{""}
	for _, col := range cols {
		head = append(head, col.Title)
	}
	out := [][]string{head}
	for _, c := range group {
		line := []string{label(c.find())}
		if len(r.values(c, rate)) == 0 {
			line = append(line, "void: "+r.voidReason(c))
		} else {
			for _, col := range cols {
				line = append(line, col.Cell(r, c))
			}
		}
		out = append(out, line)
	}
	return out
}

// print writes everything for a terminal.
func (r *record) print(w io.Writer) {
	for _, g := range r.groups() {
		fmt.Fprintf(w, "\n%s\n", title(g[0]))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range r.rows(g, func(k contender) string { return k.Name }) {
			fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
		}
		t.Flush()
	}
	fmt.Fprintf(w, "\nMedians of %d rounds of %g s; ratios are medians of each round's ratio. Other programs took %.0f%% of the machine.\n",
		r.Runs, r.Seconds, 100*r.other())
	if ts := r.targets(); len(ts) > 0 {
		fmt.Fprintln(w)
		for _, t := range ts {
			fmt.Fprintln(w, t)
		}
	}
}
