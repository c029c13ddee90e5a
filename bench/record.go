package main

import (
	"encoding/json"
	"os"
	"slices"
	"time"
)

// A record is all that one run has measured.
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

// voids counts the figures that are none.
func (r *record) voids() (n int) {
	for _, f := range r.Figures {
		if f.Void != "" {
			n++
		}
	}
	return n
}

// complete says whether everything that a full run measures was measured, in
// three rounds or more of a second or more.
func (r *record) complete() bool {
	if r.Runs < 3 || r.Seconds < 1 {
		return false
	}
	have := map[Case]bool{}
	for _, f := range r.Figures {
		have[f.Case] = true
	}
	for kind, ks := range contenders {
		for _, k := range ks {
			for _, c := range fullCases(kind) {
				c.Who = k.Name
				if !have[c] {
					return false
				}
			}
		}
	}
	return true
}

// fullCases are what a full run has of a kind, but for the contender.
func fullCases(kind string) (cs []Case) {
	for _, size := range []int{64, 512, 1200, 8192} {
		switch kind {
		case receive:
			cs = append(cs, Case{Kind: kind, Size: size, Source: "gso"}, Case{Kind: kind, Size: size, Source: "plain"})
		case idle:
			if size == 64 {
				cs = append(cs, Case{Kind: kind, Size: size})
			}
		default:
			cs = append(cs, Case{Kind: kind, Size: size})
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
func memory(f Figure) float64   { return f.Memory }
func resident(f Figure) float64 { return f.Resident }

// values returns a case's values by round, without the void ones.
func (r *record) values(c Case, v value) map[int]float64 {
	m := map[int]float64{}
	for _, f := range r.Figures {
		if f.Case == c && f.Void == "" {
			m[f.Round] = v(f)
		}
	}
	return m
}

// median is a case's; 0 when there is none.
func (r *record) median(c Case, v value) float64 {
	return median(mapValues(r.values(c, v)))
}

// spread is a case's least and greatest.
func (r *record) spread(c Case, v value) (low, high float64) {
	vs := mapValues(r.values(c, v))
	if len(vs) == 0 {
		return 0, 0
	}
	return slices.Min(vs), slices.Max(vs)
}

// ratio is the median of the rounds' ratios of c to base; 0 when there is none.
func (r *record) ratio(c, base Case, v value) float64 {
	var rs []float64
	bs := r.values(base, v)
	for round, x := range r.values(c, v) {
		if b := bs[round]; b > 0 {
			rs = append(rs, x/b)
		}
	}
	return median(rs)
}

func mapValues(m map[int]float64) []float64 {
	vs := make([]float64, 0, len(m))
	for _, v := range m {
		vs = append(vs, v)
	}
	return vs
}

func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	if n := len(vs); n%2 == 0 {
		return (vs[n/2-1] + vs[n/2]) / 2
	}
	return vs[len(vs)/2]
}

// loss is the share of the datagrams sent that the kernel dropped, of all rounds.
func (r *record) loss(c Case) float64 {
	var dropped, sent uint64
	for _, f := range r.Figures {
		if f.Case == c && f.Void == "" {
			dropped, sent = dropped+f.Dropped, sent+f.Sent
		}
	}
	if sent == 0 {
		return 0
	}
	return float64(dropped) / float64(sent)
}

// voidReason is why one of c's figures is void; "" when none is.
func (r *record) voidReason(c Case) string {
	for _, f := range r.Figures {
		if f.Case == c && f.Void != "" {
			return f.Void
		}
	}
	return ""
}

// other is the median share of the machine that went to other programs.
func (r *record) other() float64 {
	var vs []float64
	for _, f := range r.Figures {
		vs = append(vs, f.Other)
	}
	return median(vs)
}

// groups are the cases in the order they were measured, each with those it is
// compared with.
func (r *record) groups() [][]Case {
	var gs [][]Case
	seen := map[Case]bool{}
	at := map[Case]int{}
	for _, f := range r.Figures {
		if seen[f.Case] {
			continue
		}
		seen[f.Case] = true
		key := f.Case
		key.Who = ""
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
