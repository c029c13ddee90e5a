package udpprom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
	"github.com/udpkit/udp/limit"
	"github.com/udpkit/udp/metrics"
	"github.com/udpkit/udp/session"
)

// asService makes the test binary a service with troubles.
const asService = "UDPPROM_TEST_IS_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		if err := serve(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// troubles is a service with sockets for each alert.
type troubles struct {
	ctx     context.Context
	set     metrics.Set
	sockets []*udp.Conn
	err     error // the first of opening
	blocked chan struct{}
}

func (s *troubles) open(name string, cfg udp.Config, h udp.Handler) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := cfg.Listen(s.ctx, "udp4", "127.0.0.1:0", h)
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	s.set.AddSocket(name, c)
	s.sockets = append(s.sockets, c)
}

// serve prints the address of the metrics. From the first byte of its input until the end of
// it, all goes wrong.
func serve() error {
	s := &troubles{ctx: context.Background(), blocked: make(chan struct{})}
	queue := udp.NewQueue(1, udp.DropNewest) // nobody receives from it
	s.set.AddQueue("full", queue)
	s.open("full", udp.Config{}, queue)
	s.open("panics", udp.Config{}, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { panic("a trouble") }))
	s.open("rejects", udp.Config{}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { d.Drop() }))
	s.open("slow", udp.Config{ReadBuffer: 4096}, udp.HandlerFunc(func(*udp.Conn, udp.Datagram) { <-s.blocked }))
	mux := session.Handler(session.Config{}, func(*session.Peer) udp.Handler { return udp.BaseHandler{} })
	s.set.AddSessions("games", mux)
	s.open("games", udp.Config{}, mux)
	limiter, err := limit.New(limit.Config{Rate: 1, Burst: 1}, udp.BaseHandler{})
	if err != nil {
		return err
	}
	s.set.AddLimiter("front", limiter)
	s.open("front", udp.Config{}, limiter)
	workers, err := udp.NewWorkers(udp.WorkersConfig{Handler: udp.BaseHandler{}})
	if err != nil {
		return err
	}
	s.set.AddWorkers("many", workers)
	group, err := udp.Config{}.ListenGroup(s.ctx, 2, "udp4", "127.0.0.1:0", func(int) udp.Handler { return workers })
	if err != nil {
		return err
	}
	s.set.AddGroup("many", group)
	client, err := exchange.New(exchange.Config[byte]{Key: func(b []byte) (byte, bool) { return 0, false }})
	if err != nil {
		return err
	}
	s.set.AddExchange("dns", client)
	nobody, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	refused, err := udp.Dial(s.ctx, "udp4", nobody.LocalAddr().String(), udp.BaseHandler{})
	if err := errors.Join(err, s.err, nobody.Close()); err != nil {
		return err
	}
	s.set.AddSocket("refused", refused)

	registry := prometheus.NewRegistry()
	registry.MustRegister(New(&s.set))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("metrics on", l.Addr())
	go func() { _ = http.Serve(l, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})) }()

	begin := make([]byte, 1)
	if _, err := os.Stdin.Read(begin); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	again := time.NewTicker(100 * time.Millisecond)
	for {
		for range 20 {
			for _, c := range append(group.Conns(), s.sockets...) {
				_ = s.sockets[0].SendTo(make([]byte, 1000), c.LocalAddrPort())
			}
			_ = refused.Send([]byte("is anybody there?"))
			_ = s.sockets[0].SendTo(make([]byte, 1<<16), netip.MustParseAddrPort("127.0.0.1:9"))
		}
		select {
		case <-again.C:
		case <-ended:
			return nil
		}
	}
}
