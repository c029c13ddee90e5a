package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/udpdebug"
	"github.com/udpkit/udp/udpprom"
)

// private is the HTTP server of metrics and live pages. It is for operators: whoever
// reaches it sees the addresses of all sources.
type private struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// servePrivate serves on address what can be seen of c.
func servePrivate(address string, c *Collector) (*private, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	var sockets metrics.Set
	page := udpdebug.New(udpdebug.Config{})
	for _, s := range c.sources {
		sockets.AddGroup(s.input.Name, s.group)
		sockets.AddWorkers(s.input.Name, s.workers)
		page.AddGroup(s.input.Name, s.group)
		page.AddWorkers(s.input.Name, s.workers)
		if s.limiter != nil {
			sockets.AddLimiter(s.input.Name, s.limiter)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(udpprom.New(&sockets), own{c},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/debug/udp/", http.StripPrefix("/debug/udp", page))
	mux.HandleFunc("GET /health", c.health)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>udp collector</title><ul>
<li><a href="/debug/udp/">sockets, live</a><li><a href="/metrics">metrics</a><li><a href="/health">health</a><li><a href="/debug/pprof/">profiles</a></ul>`)
	})
	p := &private{
		listener: listener,
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},
		done:     make(chan struct{}),
	}
	p.server.RegisterOnShutdown(page.Close)
	go func() {
		defer close(p.done)
		if err := p.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("http", "error", err)
		}
	}()
	return p, nil
}

func (p *private) shutdown(ctx context.Context) {
	if p.server.Shutdown(ctx) != nil {
		_ = p.server.Close()
	}
	<-p.done
}

// health answers 200 while datagrams reach the stream, and 503 while they are spooled
// or dropped.
func (c *Collector) health(w http.ResponseWriter, _ *http.Request) {
	switch {
	case !c.stream.ready.Load():
		http.Error(w, "the stream is not available; datagrams go to the spool", http.StatusServiceUnavailable)
	case c.spool.Pending():
		http.Error(w, fmt.Sprintf("%d datagrams are in the spool", c.spool.records.Load()), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}
