package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// A metric is one number of a figure: a column on the terminal, a table in the
// document.
type metric struct {
	Title  string
	value  value
	Ratios bool // to the bases of its kind
}

var (
	rateOf = metric{Title: "datagrams/s", value: rate, Ratios: true}
	cpuOf  = metric{Title: "CPU ns each", value: cpuEach, Ratios: true}
)

// short writes a number with three digits, as 1.23M.
func short(v float64) string {
	switch {
	case v == 0 || math.IsInf(v, 0):
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

// title names a group of cases.
func title(c Case) string {
	var at string
	if len(c.kind().Sizes) > 1 {
		at = fmt.Sprintf(", %d bytes", c.Size)
	}
	if c.Source != "" {
		at += ", " + sourceNames[c.Source]
	}
	if c.Cores > 1 {
		at += ", on both cores"
	}
	return c.kind().Heading + at
}

var sourceNames = map[string]string{"gso": "from a sender with UDP_SEGMENT", "plain": "from a plain sender (sendto)"}

// rows writes a group of cases: a header, and a line for each.
func (r *record) rows(group []Case) [][]string {
	k := group[0].kind()
	head := []string{k.Name}
	for _, m := range k.Metrics {
		head = append(head, m.Title)
		if m.Ratios {
			for _, base := range k.Bases {
				head = append(head, "to "+base)
			}
		}
	}
	out := [][]string{append(head, "dropped")}
	for _, c := range group {
		line := []string{c.Entry}
		if len(r.values(c, rate)) == 0 {
			out = append(out, append(line, "invalid: "+r.invalidReason(c)))
			continue
		}
		for _, m := range k.Metrics {
			line = append(line, r.values(c, m.value).String())
			if m.Ratios {
				for _, base := range k.Bases {
					line = append(line, r.ratios(c, c.to(base), m.value).String())
				}
			}
		}
		out = append(out, append(line, loss(r.loss(c))))
	}
	return out
}

func loss(share float64) string {
	if share == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f%%", 100*share)
}

// busy is the share of the machine for other programs above which rates mean little. Starting the
// measured programs is part of it.
const busy = 0.25

// print writes everything for a terminal.
func (r *record) print(w io.Writer) {
	for _, g := range r.groups() {
		fmt.Fprintf(w, "\n%s\n", title(g[0]))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range r.rows(g) {
			fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
		}
		t.Flush()
	}
	fmt.Fprintf(w, "\nMedians of %d rounds of %g s, ± half the distance between the quartiles; ratios are taken within a round.\n"+
		"Other programs used %.0f%% of the machine.", r.Runs, r.Seconds, 100*r.other())
	if r.other() > busy {
		fmt.Fprint(w, " Rates are of processes that waited for a core: compare CPU time.")
	}
	fmt.Fprintln(w)
}
