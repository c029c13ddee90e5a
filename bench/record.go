package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// A record has all figures of one run.
type record struct {
	Machine          machine       `json:"machine"`
	Command          string        `json:"command"`
	Began            time.Time     `json:"began"`
	Took             time.Duration `json:"took"`
	Runs             int           `json:"runs"`
	Seconds          float64       `json:"seconds"`
	Receiver, Sender string
	Figures          []Figure `json:"figures"`
}

func (r *record) save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func load(file string) (*record, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(record)
	return r, json.Unmarshal(b, r)
}

// invalid counts the invalid figures.
func (r *record) invalid() (n int) {
	for _, f := range r.Figures {
		if f.Invalid != "" {
			n++
		}
	}
	return n
}

// complete reports whether the record has all cases of a whole run, in at least three rounds of at
// least a second each.
func (r *record) complete() bool {
	if r.Runs < 3 || r.Seconds < 1 {
		return false
	}
	have := map[Case]bool{}
	for _, f := range r.Figures {
		have[f.Case] = true
	}
	for _, c := range allCases() {
		if !have[c] {
			return false
		}
	}
	return true
}

// allCases returns the cases of a whole run.
func allCases() (cs []Case) {
	for _, cores := range []int{1, 2} {
		for _, k := range kinds {
			cs = append(cs, k.cases(k.sizes(cores), cores)...)
		}
	}
	return cs
}

// A value picks a number out of a figure.
type value func(Figure) float64

func rate(f Figure) float64     { return f.Rate }
func cpuEach(f Figure) float64  { return f.CPU }
func p50(f Figure) float64      { return f.P50 }
func p99(f Figure) float64      { return f.P99 }
func p999(f Figure) float64     { return f.P999 }
func longest(f Figure) float64  { return f.Longest }
func reply31(f Figure) float64  { return f.Reply31 }
func memoryOf(f Figure) float64 { return f.Memory }
func resident(f Figure) float64 { return f.Resident }

// each returns the time for one, in µs.
func each(f Figure) float64 {
	if f.Rate == 0 {
		return 0
	}
	return 1e6 / f.Rate
}

// rounds are the values of a case, or the ratios of two, by round, without those of invalid
// figures.
type rounds map[int]float64

func (r *record) values(c Case, v value) rounds {
	m := rounds{}
	for _, f := range r.Figures {
		if f.Case == c && f.Invalid == "" {
			m[f.Round] = v(f)
		}
	}
	return m
}

// ratios returns those of c to base within each round, in which anything that slows both down, such
// as another program, cancels out.
func (r *record) ratios(c, base Case, v value) rounds {
	m, bs := rounds{}, r.values(base, v)
	for round, x := range r.values(c, v) {
		if b := bs[round]; b > 0 {
			m[round] = x / b
		}
	}
	return m
}

// quantile interpolates between neighbours; it is 0 when there is no value.
func (m rounds) quantile(q float64) float64 {
	vs := slices.Sorted(maps.Values(m))
	if len(vs) == 0 {
		return 0
	}
	at := q * float64(len(vs)-1)
	i := min(int(at), max(len(vs)-2, 0))
	next := vs[min(i+1, len(vs)-1)]
	return vs[i] + (at-float64(i))*(next-vs[i])
}

func (m rounds) median() float64 { return m.quantile(0.5) }

// span returns the least and the greatest.
func (m rounds) span() (low, high float64) {
	vs := slices.Sorted(maps.Values(m))
	if len(vs) == 0 {
		return 0, 0
	}
	return vs[0], vs[len(vs)-1]
}

// String returns the median, and half the distance between the quartiles in percent of it. About
// half of the rounds are that close to the median, however far off a few are.
func (m rounds) String() string {
	mid := m.median()
	if mid == 0 || len(m) < 2 {
		return short(mid)
	}
	return fmt.Sprintf("%s ±%.0f%%", short(mid), 50*(m.quantile(0.75)-m.quantile(0.25))/mid)
}

// loss returns the share of the datagrams sent that the kernel dropped, over all rounds.
func (r *record) loss(c Case) float64 {
	var dropped, sent uint64
	for _, f := range r.Figures {
		if f.Case == c && f.Invalid == "" {
			dropped, sent = dropped+f.Dropped, sent+f.Sent
		}
	}
	if sent == 0 {
		return 0
	}
	return float64(dropped) / float64(sent)
}

// invalidReason returns why one of c's figures is invalid, or "" if none is.
func (r *record) invalidReason(c Case) string {
	for _, f := range r.Figures {
		if f.Case == c && f.Invalid != "" {
			return f.Invalid
		}
	}
	return ""
}

// other returns the median share of the machine that other programs used.
func (r *record) other() float64 {
	m := rounds{}
	for i, f := range r.Figures {
		m[i] = f.Other
	}
	return m.median()
}

// groups returns the cases in the order of their first measurement, each with those it is compared
// with.
func (r *record) groups() [][]Case {
	var gs [][]Case
	seen := map[Case]bool{}
	at := map[Case]int{}
	for _, f := range r.Figures {
		if seen[f.Case] {
			continue
		}
		seen[f.Case] = true
		key := f.to("")
		i, ok := at[key]
		if !ok {
			i = len(gs)
			at[key] = i
			gs = append(gs, nil)
		}
		gs[i] = append(gs[i], f.Case)
	}
	return gs
}
