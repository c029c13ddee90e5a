package docs_test

import (
	"context"
	"encoding/binary"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/session"
	"github.com/udpkit/udp/udpdebug"
)

// The snippets of the guides. TestGuidesShowWhatCompiles compares.

// from-net.md

func loop(ctx context.Context, address string) error {
	c, err := udp.Listen(ctx, "udp", address, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		d.Reply(handle(d.Data))
	}))
	if err != nil {
		return err
	}
	return c.Run(ctx, 5*time.Second)
}

func netClient(conn net.Conn, request, buf []byte) (int, error) {
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	n, err := conn.Read(buf) // ECONNREFUSED, maybe of an earlier request
	return n, err
}

func queueClient(ctx context.Context, c *udp.ConnectedConn, q *udp.Queue, request []byte) (udp.Datagram, error) {
	if err := c.Send(request); err != nil {
		return udp.Datagram{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return q.Receive(ctx) // a *udp.Refusal has the payload that it is about
}

func unchanged(ctx context.Context) (*net.Resolver, net.PacketConn, error) {
	cfg := udp.Config{ReadBuffer: 4 << 20}
	pc, err := cfg.ListenPacket(ctx, "udp", ":443") // a net.PacketConn for quic-go, DTLS, KCP
	r := &net.Resolver{PreferGo: true, Dial: dialer(cfg)}
	return r, pc, err
}

func dialer(cfg udp.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return cfg.DialContext(ctx, "udp", address)
	}
}

// choosing.md

func consume(ctx context.Context, q *udp.Queue) error {
	for {
		d, err := q.Receive(ctx)
		var refusal *udp.Refusal
		switch {
		case errors.As(err, &refusal):
			slog.Info("not delivered", "to", refusal.Peer, "why", refusal.Err)
			continue
		case err != nil:
			return err // ctx ended, or the socket stopped
		}
		d.Reply(handle(d.Data))
		d.Release()
	}
}

type tableHandler struct{ udp.BaseHandler }

func newTable() udp.Handler { return &tableHandler{} }

func workers(ctx context.Context) (*udp.Conn, error) {
	w, err := udp.NewWorkers(udp.WorkersConfig{
		N:         4,
		Overflow:  udp.DropNewest,
		PerWorker: func(i int) udp.Handler { return newTable() }, // a table for each goroutine: no lock
	})
	if err != nil {
		return nil, err
	}
	return udp.Listen(ctx, "udp", ":8125", w)
}

// observability.md

func publish(c *udp.Conn) {
	expvar.Publish("dns_udp", expvar.Func(func() any { return c.Stats() }))
}

func sources(c *udp.Conn, queue *udp.Queue, sessions *session.Mux) *metrics.Set {
	var set metrics.Set
	set.AddSocket("dns", c)
	set.AddQueue("dns", queue)
	set.AddSessions("games", sessions)
	return &set
}

func export(w io.Writer, c *udp.Conn) {
	for name, value := range c.Stats().All() {
		fmt.Fprintf(w, "udp_%s{socket=%q} %v\n", name, c.LocalAddr(), value)
	}
}

func watch(c *udp.Conn) udp.Config {
	return udp.Config{
		Logger: slog.Default(),
		OnSendError: func(c *udp.Conn, to netip.AddrPort, err error) {
			if errors.Is(err, udp.ErrTooLarge) {
				slog.Warn("the reply does not fit", "to", to, "error", err)
			}
		},
	}
}

func traceDrops(cfg udp.Config) udp.Config {
	cfg.Trace = &udp.Trace{
		Dropped: func(c *udp.Conn, d udp.Datagram, why udp.DropReason) {
			slog.Debug("dropped", "from", d.From, "to", d.To(), "bytes", len(d.Data), "why", why)
		},
	}
	return cfg
}

func debugPage(cfg udp.Config, c *udp.Conn, queue *udp.Queue) {
	peers := udpdebug.NewPeers(0)
	cfg.Trace = peers.Trace() // udp.JoinTraces adds that of a pcap.Capture
	page := udpdebug.New(udpdebug.Config{Token: os.Getenv("DEBUG_TOKEN")})
	page.AddSocket("dns", c)
	page.AddQueue("dns", queue)
	page.AddPeers("dns", peers)
	http.Handle("/debug/udp/", http.StripPrefix("/debug/udp", page))
}

// tuning.md

func buffers(ctx context.Context, h udp.Handler) (*udp.Conn, error) {
	c, err := udp.Config{ReadBuffer: 8 << 20}.Listen(ctx, "udp", ":514", h)
	if err != nil {
		return nil, err
	}
	if got := c.Info().ReadBuffer; got < 8<<20 {
		slog.Warn("small receive buffer: raise net.core.rmem_max", "bytes", got)
	}
	return c, nil
}

// security.md

func limited(ctx context.Context, h udp.Handler) (*udp.Conn, error) {
	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, h) // per source prefix and second
	if err != nil {
		return nil, err
	}
	return udp.Listen(ctx, "udp", ":53", l)
}

// recipes.md

// forward passes on what clients send to server, from a socket for each client, and returns what
// the server replies.
func forward(ctx context.Context, listen string, server netip.AddrPort) error {
	cfg := session.Config{IdleTimeout: time.Minute, MaxSessions: 1000}
	m := session.Handler(cfg, func(client *session.Peer) udp.Handler {
		up, err := udp.Dial(ctx, "udp", server.String(), udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
			client.Send(d.Data) // copied, and batched with what follows
		}))
		if err != nil {
			return nil // counted in the session's Stats.Rejected
		}
		return &flow{up: up}
	})
	c, err := udp.Listen(ctx, "udp", listen, m)
	if err != nil {
		return err
	}
	return c.Run(ctx, time.Second)
}

type flow struct {
	udp.BaseHandler
	up *udp.ConnectedConn
}

func (f *flow) Received(_ *udp.Conn, d udp.Datagram) { f.up.Enqueue(udp.Message{Data: d.Data}) }

func (f *flow) Stopped(*udp.Conn, error) { f.up.Close() } // idle, evicted, or the end

func sessions(ctx context.Context, serve func(net.Conn)) error {
	ln, err := session.Listen(ctx, "udp", ":7007")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c) // closes c
	}
}

func retries(ctx context.Context, key func([]byte) (uint16, bool), query []byte) ([]byte, error) {
	c, err := exchange.New(exchange.Config[uint16]{Key: key}) // once for all requests
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for _, server := range []string{"192.0.2.53:53", "198.51.100.53:53"} {
		response, err := c.Do(ctx, server, query)
		if err == nil {
			return response.Data, nil
		}
		slog.Info("trying the next server", "failed", server, "error", err)
	}
	return nil, errors.New("no server replied")
}

func tickLoop(ctx context.Context, c *udp.Conn, w *world) error {
	ticks := time.NewTicker(time.Second / 30)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			sent, err := c.SendBatch(w.step()) // a message for each player
			var failed *udp.BatchError
			if errors.As(err, &failed) {
				slog.Debug("some updates were not sent", "sent", sent, "failed", len(failed.Failed))
			}
		case <-ctx.Done():
			return c.Run(ctx, time.Second)
		case <-c.Done():
			return c.Err()
		}
	}
}

type world struct{}

func (w *world) step() []udp.Message { return nil }

func activated(ctx context.Context, uc *net.UDPConn, h udp.Handler) error {
	c, err := udp.Config{}.Adopt(uc, h) // uc is from net.FilePacketConn, or go-systemd's PacketConns
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-c.Done():
		return c.Err()
	}
	waiting, err := c.Detach()
	if err != nil {
		return err
	}
	return waiting.Close()
}

func takeOver(ctx context.Context, handler func(i int) udp.Handler) error {
	g, err := udp.Config{}.ListenGroup(ctx, 4, "udp", ":2055", handler)
	if err != nil {
		return err
	}
	// Now tell the old process to end, for example with SIGTERM. It calls Run, too.
	return g.Run(ctx, 30*time.Second)
}

// sessions.md

func idle(ctx context.Context, serve func(net.Conn)) error {
	ln, err := session.Config{IdleTimeout: 30 * time.Second}.Listen(ctx, "udp", ":7007")
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c) // c.Read fails with session.ErrIdle after 30 s of silence
	}
}

func players(ctx context.Context) error {
	m := session.Handler(session.Config{}, func(p *session.Peer) udp.Handler { return &player{peer: p} })
	c, err := udp.Config{PeerErrors: true}.Listen(ctx, "udp", ":7007", m)
	if err != nil {
		return err
	}
	return c.Run(ctx, time.Second)
}

type player struct {
	udp.BaseHandler
	peer *session.Peer
}

func (p *player) Received(_ *udp.Conn, d udp.Datagram) { p.peer.Send(d.Data) }

// exchange.md

func resolver(ctx context.Context, query []byte) error {
	c, err := exchange.New(exchange.Config[uint16]{Key: func(b []byte) (uint16, bool) {
		if len(b) < 12 {
			return 0, false
		}
		return binary.BigEndian.Uint16(b), true // the ID of a DNS message
	}})
	if err != nil {
		return err
	}
	response, err := c.Do(ctx, "192.0.2.53:53", query)
	if err != nil {
		return err
	}
	return check(response.Data)
}

func failover(ctx context.Context, c *exchange.Client[uint16], servers []string, query []byte) (udp.Datagram, error) {
	var response udp.Datagram
	err := errors.New("no server")
	for _, server := range servers {
		if response, err = c.Do(ctx, server, query); err == nil {
			break
		}
	}
	return response, err
}

// limit.md

func protect(ctx context.Context, handler udp.Handler) error {
	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, handler)
	if err != nil {
		return err
	}
	c, err := udp.Listen(ctx, "udp", ":53", l)
	if err != nil {
		return err
	}
	return c.Run(ctx, time.Second)
}

func replyWithin(l *limit.Limiter, d udp.Datagram, response, truncated []byte) {
	if err := l.Reply(d, response); errors.Is(err, limit.ErrAmplification) {
		l.Reply(d, truncated) // "ask by TCP"
	}
}

var _ = []any{
	idle, players, resolver, failover, protect, replyWithin,
	loop, netClient, queueClient, unchanged, consume, workers, publish, sources, export, watch, traceDrops, debugPage, buffers, limited, forward,
	sessions, retries, tickLoop, activated, takeOver, groupServer, conns,
}

// groups.md

func newServer(int) udp.Handler { return udp.BaseHandler{} }

func groupServer(ctx context.Context) error {
	g, err := udp.Config{}.ListenGroup(ctx, 0, "udp", ":5514", func(i int) udp.Handler {
		return newServer(i) // state of its own, so no locks
	})
	if err != nil {
		return err
	}
	return g.Run(ctx, 10*time.Second)
}

// ecosystem.md

func conns(ctx context.Context, cfg udp.Config) error {
	pc, err := cfg.ListenPacket(ctx, "udp", ":4433")
	if err != nil {
		return err
	}
	conn, err := cfg.DialContext(ctx, "udp", "server:4433")
	if err != nil {
		return err
	}
	return errors.Join(pc.Close(), conn.Close())
}
