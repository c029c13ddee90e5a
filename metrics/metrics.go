package metrics

import (
	"iter"
	"slices"
	"strings"
)

// Metric describes a metric.
type Metric struct {
	// Kind is that of its sources: socket, queue, workers, session, exchange or limit.
	Kind string
	// Name says what is counted, in snake case. Together with Kind it is unique. It ends in
	// the unit, a plural such as datagrams or bytes; that of "info" is none.
	Name string
	Type Type
	Help string // a sentence
	// Labels are the names of its labels. The first is Kind, for the name of the source.
	// Those of a socket also have group, for the name of its Group. The last is reason where
	// several counters of a source share the metric.
	Labels []string
}

// Type says how the values of a metric develop.
type Type int

const (
	Counter Type = iota // only grows, and starts at 0 with the program
	Gauge               // what there is now; the sum over sources has a meaning
	Maximum             // the most there has been, or a constant; the sum has no meaning
)

// Unit returns the unit, in the plural: the last word of Name.
func (m *Metric) Unit() string { return m.Name[strings.LastIndexByte(m.Name, '_')+1:] }

// All yields all metrics, in a stable order.
func All() iter.Seq[*Metric] { return slices.Values(all) }

// counter is what a counter of Stats.All becomes: a metric, and the value of its label reason.
type counter struct {
	metric *Metric
	reason string
}

const socketKind = "socket"

var socketInfo = &Metric{
	Kind: socketKind, Name: "info", Type: Maximum, Help: "What the socket was granted; the value is always 1.",
	Labels: []string{socketKind, "group", "address", "gro", "gso", "steering"},
}

// all are the metrics; counters finds them by the kind and the name of a counter.
var all, counters = index()

func index() (all []*Metric, counters map[string]map[string]counter) {
	counters = make(map[string]map[string]counter)
	for _, k := range kinds {
		found := make(map[string]counter)
		counters[k.name] = found
		for _, r := range k.rows {
			labels, _ := key{kind: k.name}.labels()
			m := &Metric{Kind: k.name, Name: r.name, Type: r.typ, Help: r.help, Labels: labels}
			all = append(all, m)
			from := strings.Fields(r.counters)
			prefix, any := strings.CutSuffix(from[0], "*")
			switch {
			case any:
				for name := range k.counters {
					if reason, ok := strings.CutPrefix(name, prefix); ok {
						found[name] = counter{m, reason}
					}
				}
			case len(from) == 1:
				found[from[0]] = counter{m, ""}
				continue
			default:
				for _, f := range from {
					name, reason, ok := strings.Cut(f, "=")
					if !ok {
						reason = name
					}
					found[name] = counter{m, reason}
				}
			}
			m.Labels = append(m.Labels, "reason")
		}
	}
	return append(all, socketInfo), counters
}
