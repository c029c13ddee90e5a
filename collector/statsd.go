package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/udpkit/udp"
)

// statsdMessage is the JSON of a datagram. Lines that are no metric are kept beside the
// others.
type statsdMessage struct {
	origin
	Metrics   []metric `json:"metrics"`
	Malformed []string `json:"malformed,omitempty"`
}

// metric is a line "name:value|type|@rate|#tag:value,tag" of a datagram.
type metric struct {
	Name  string            `json:"name"`
	Type  string            `json:"type"`            // c, g, ms, h, d or s
	Value *float64          `json:"value,omitempty"` // not of sets
	Delta bool              `json:"delta,omitempty"` // of a gauge: adds to its value
	Item  string            `json:"item,omitempty"`  // of a set
	Rate  float64           `json:"rate,omitempty"`  // of sampling, unless 1
	Tags  map[string]string `json:"tags,omitempty"`  // of DogStatsD
}

var errStatsd = errors.New("no line is name:value|type")

func decodeStatsd(d udp.Datagram, received time.Time) ([]byte, error) {
	m := statsdMessage{origin: origin{d.From, received}}
	for line := range strings.Lines(string(d.Data)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		metrics, ok := parseMetric(line)
		if !ok {
			m.Malformed = append(m.Malformed, line)
		}
		m.Metrics = append(m.Metrics, metrics...)
	}
	if len(m.Metrics) == 0 {
		return nil, errStatsd
	}
	return marshal(&m)
}

// parseMetric parses a line. Several values, as in "name:1:2|ms", are several metrics.
func parseMetric(line string) (metrics []metric, ok bool) {
	parts := strings.Split(line, "|")
	name, values, ok := strings.Cut(parts[0], ":")
	if !ok || name == "" || len(parts) < 2 {
		return nil, false
	}
	m := metric{Name: name, Type: parts[1]}
	for _, part := range parts[2:] {
		switch {
		case strings.HasPrefix(part, "@"):
			rate, ok := number(part[1:])
			if !ok || rate <= 0 || rate > 1 {
				return nil, false
			}
			if rate < 1 {
				m.Rate = rate
			}
		case strings.HasPrefix(part, "#"):
			m.Tags = make(map[string]string)
			for tag := range strings.SplitSeq(part[1:], ",") {
				key, value, _ := strings.Cut(tag, ":")
				m.Tags[key] = value
			}
		case part == "":
			return nil, false
		} // others are extensions, such as the container of DogStatsD
	}
	switch m.Type {
	case "s":
		m.Item = values
		return []metric{m}, true
	case "c", "g", "ms", "h", "d":
	default:
		return nil, false
	}
	for value := range strings.SplitSeq(values, ":") {
		one := m
		v, ok := number(value)
		if !ok {
			return nil, false
		}
		one.Value = &v
		one.Delta = m.Type == "g" && (value[0] == '+' || value[0] == '-')
		metrics = append(metrics, one)
	}
	return metrics, true
}

// number parses what JSON has too: neither NaN nor infinity.
func number(s string) (float64, bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
}
