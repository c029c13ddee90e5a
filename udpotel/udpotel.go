// Package udpotel exports the counters of package udp to OpenTelemetry, with the names,
// units and attributes of its semantic conventions. It is a module of its own, so that
// package udp does not depend on OpenTelemetry.
//
//	var set metrics.Set
//	set.AddSocket("dns", conn)
//	registration, err := udpotel.Register(otel.GetMeterProvider(), &set)
package udpotel

import (
	"context"
	"net/netip"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/udpkit/udp/metrics"
)

// Register creates instruments that observe the sources that are in the set at each
// collection, until Unregister of the Registration is called. Register a set once per
// provider. All instruments are asynchronous: nothing happens between collections.
//
// The name of an instrument consists of udp, the kind of its sources, and what it counts:
// udp.session.active, udp.queue.datagram.dropped. Datagrams and bytes of a socket are
// udp.socket.datagram.count and udp.socket.io, with the attribute network.io.direction, as in
// the conventions for networks. Units are in UCUM, such as {datagram} and By. docs/metrics.md
// lists them.
//
// Attributes: udp.KIND.name is the name of the source, and udp.group.name that of a socket's
// Group. The reason is error.type for failed sends and requests, and udp.reason otherwise. The
// gauge udp.socket.info is always 1. Its attributes are network.local.address,
// network.local.port, network.transport, and the features that the socket was granted.
func Register(provider metric.MeterProvider, set *metrics.Set) (metric.Registration, error) {
	meter := provider.Meter("github.com/udpkit/udp/udpotel", metric.WithSchemaURL(semconv.SchemaURL))
	instruments := make(map[*metrics.Metric]metric.Int64Observable)
	var all []metric.Observable
	named := make(map[string]metric.Int64Observable)
	for m := range metrics.All() {
		name, _ := conventional(m)
		i := named[name] // one instrument has both directions
		if i == nil {
			var err error
			if i, err = instrument(meter, m, name); err != nil {
				return nil, err
			}
			named[name] = i
			all = append(all, i)
		}
		instruments[m] = i
	}
	return meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for s := range set.Samples() {
			o.ObserveInt64(instruments[s.Metric], int64(s.Value), metric.WithAttributes(attributes(s)...))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}, all...)
}

func instrument(meter metric.Meter, m *metrics.Metric, name string) (metric.Int64Observable, error) {
	help, unit := metric.WithDescription(describe(m)), metric.WithUnit(unit(m))
	switch m.Type {
	case metrics.Counter:
		return meter.Int64ObservableCounter(name, help, unit)
	case metrics.Gauge:
		return meter.Int64ObservableUpDownCounter(name, help, unit)
	}
	return meter.Int64ObservableGauge(name, help, unit)
}

// directions are the values of network.io.direction.
var directions = map[string]attribute.KeyValue{
	"received": semconv.NetworkIODirectionReceive,
	"sent":     semconv.NetworkIODirectionTransmit,
}

// conventional returns the name of a metric, the noun before what qualifies it, and its
// direction, if it has one.
func conventional(m *metrics.Metric) (name string, direction attribute.KeyValue) {
	noun := strings.Trim(unit(m), "{}")
	if noun == "By" {
		noun = "io"
	}
	which := strings.TrimSuffix(strings.TrimSuffix(m.Name, m.Unit()), "_")
	parts := []string{"udp", m.Kind}
	switch d, ok := directions[which]; {
	case ok && m.Kind == "socket":
		direction = d
		parts = append(parts, noun)
		if noun != "io" {
			parts = append(parts, "count")
		}
	case which == "": // countable things: reads, panics
		parts = append(parts, m.Unit())
	case noun == m.Kind:
		parts = append(parts, which)
	default:
		parts = append(parts, noun, which)
	}
	return strings.Join(parts, "."), direction
}

// describe joins the descriptions of both directions.
func describe(m *metrics.Metric) string {
	if _, d := conventional(m); d.Valid() {
		return "What the socket received and sent."
	}
	return m.Help
}

// unit returns a unit in UCUM: what is counted is in curly brackets.
func unit(m *metrics.Metric) string {
	switch u := m.Unit(); u {
	case "info":
		return "1"
	case "bytes":
		return "By"
	case "addresses":
		return "{address}"
	default:
		return "{" + strings.TrimSuffix(u, "s") + "}"
	}
}

// attributes are the labels of a sample.
func attributes(s metrics.Sample) (kvs []attribute.KeyValue) {
	if _, d := conventional(s.Metric); d.Valid() {
		kvs = append(kvs, d)
	}
	for i, label := range s.Metric.Labels {
		value := s.Labels[i]
		switch label {
		case s.Metric.Kind:
			kvs = append(kvs, attribute.String("udp."+label+".name", value))
		case "group":
			if value != "" {
				kvs = append(kvs, attribute.String("udp.group.name", value))
			}
		case "reason":
			kvs = append(kvs, reason(s.Metric, value)...)
		case "address":
			kvs = append(kvs, semconv.NetworkTransportUDP)
			if local, err := netip.ParseAddrPort(value); err == nil {
				kvs = append(kvs, semconv.NetworkLocalAddress(local.Addr().String()), semconv.NetworkLocalPort(int(local.Port())))
			}
		case "gro", "gso":
			kvs = append(kvs, attribute.Bool("udp.socket."+label, value == "true"))
		default:
			kvs = append(kvs, attribute.String("udp.socket."+label, value))
		}
	}
	return kvs
}

// reason is the type of an error where an operation has failed. One that has not has none
// (https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/).
func reason(m *metrics.Metric, value string) []attribute.KeyValue {
	switch m.Name {
	case "send_failed_datagrams", "ended_requests":
		if value == "succeeded" {
			return nil
		}
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(value)}
	}
	return []attribute.KeyValue{attribute.String("udp.reason", value)}
}
