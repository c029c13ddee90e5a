package main

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"golang.org/x/time/rate"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/limit"
)

// source is an input: the sockets of a port, and the workers that decode.
type source struct {
	input    Input
	group    *udp.Group // nil: not open
	workers  *udp.Workers
	limiter  *limit.Limiter // nil: no limit
	counters counters
}

// newSource makes a source whose records go to p, with subjects below prefix.
func newSource(in Input, prefix string, p *Publisher, ids *ids) (*source, error) {
	s := &source{input: in}
	if in.Rate > 0 {
		var err error
		s.limiter, err = limit.New(limit.Config{Rate: rate.Limit(in.Rate), Burst: in.Burst}, udp.BaseHandler{})
		if err != nil {
			return nil, err
		}
	}
	f := formats[in.Format]
	cfg := udp.WorkersConfig{
		N: in.Workers,
		PerWorker: func(int) udp.Handler {
			return &worker{source: s, publisher: p, ids: ids, prefix: prefix, raw: f.raw, decode: f.decoder(in)}
		},
	}
	if f.byHost {
		seed := maphash.MakeSeed()
		cfg.Key = func(d udp.Datagram) uint64 { return maphash.Comparable(seed, d.From.Addr()) }
	}
	var err error
	s.workers, err = udp.NewWorkers(cfg)
	p.counters[in.Name] = &s.counters
	return s, err
}

// listen opens the port.
func (s *source) listen(ctx context.Context, cfg udp.Config) (err error) {
	cfg.ReadBuffer = int(s.input.ReadBuffer)
	s.group, err = cfg.ListenGroup(ctx, s.input.Sockets, "udp", s.input.Address, func(int) udp.Handler { return s.workers })
	if err != nil {
		return fmt.Errorf("input %q: %w", s.input.Name, err)
	}
	return nil
}

// worker makes records of datagrams. Each goroutine of the workers has one.
type worker struct {
	udp.BaseHandler
	source    *source
	publisher *Publisher
	ids       *ids
	prefix    string
	raw       bool // the payload is the datagram
	decode    decoder
}

// Received implements udp.Handler.
func (w *worker) Received(_ *udp.Conn, d udp.Datagram) {
	s := w.source
	if s.limiter != nil && !s.limiter.Allow(d) {
		d.Drop() // counted by the limiter and the socket
		w.publisher.sources.add(d.From.Addr())
		return
	}
	s.counters.received.Add(1)
	r := Record{
		ID: w.ids.next(), Input: s.input.Name, Source: d.From, Received: time.Now(),
		Subject: w.prefix + "." + s.input.Name,
	}
	var err error
	if r.Payload, err = w.decode(d, r.Received); err != nil {
		s.counters.malformed.Add(1)
		if s.input.Malformed == dropMalformed {
			d.Drop()
			w.publisher.drop(&r, malformed)
			return
		}
		r.Subject += ".malformed"
		r.Fault = err.Error()
	}
	if err != nil || w.raw {
		r.Raw, r.Payload = true, d.Clone().Data
	}
	w.publisher.put(r)
}
