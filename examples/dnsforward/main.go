// Dnsforward is a DNS forwarder: it passes queries on to servers and returns their responses,
// from the address that was asked, until SIGINT or SIGTERM. When a server is down or silent, it
// asks the next one.
//
//	dnsforward [-listen host:port] [-random-ports] server...
//
// Try it with: dnsforward -listen localhost:5353 192.0.2.53:53, and dig @localhost -p 5353 example.org
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
)

const (
	maxQueries = 4096 // at once; others are dropped, and counted in Drops.Handler
	patience   = 5 * time.Second
	headerSize = 12 // bytes of a DNS message before its question
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "dnsforward:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("dnsforward", flag.ContinueOnError)
	listen := flags.String("listen", ":53", "`address` to listen on")
	random := flags.Bool("random-ports", false, "ask from a random port for each query")
	lacksPort := func(server string) bool { _, _, err := net.SplitHostPort(server); return err != nil }
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 || slices.ContainsFunc(flags.Args(), lacksPort) {
		return cmp.Or(err, errors.New("needs servers, each as host:port"))
	}
	client, err := exchange.New(exchange.Config[uint16]{
		Key: id, Match: sameQuestion, SocketPerRequest: *random, Socket: cfg,
		Attempts: 2, Schedule: func(int) time.Duration { return time.Second },
	})
	if err != nil {
		return err
	}
	defer client.Close()
	f := &forwarder{client: client, servers: flags.Args(), slots: make(chan struct{}, maxQueries)}
	c, err := cfg.Listen(ctx, "udp", *listen, f)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", c.LocalAddrPort())
	err = c.Run(ctx, patience)
	s := client.Stats()
	fmt.Fprintf(stdout, "received %d, asked %d, succeeded %d, late %d, spoofed %d\n",
		c.Stats().Received, s.Requests, s.Succeeded, s.Late, s.Spoofed)
	return err
}

// forwarder is the Handler of the socket that clients ask.
type forwarder struct {
	udp.BaseHandler
	client  *exchange.Client[uint16]
	servers []string
	slots   chan struct{}
}

func (f *forwarder) Received(_ *udp.Conn, d udp.Datagram) {
	if _, isQuery := id(d.Data); !isQuery || d.Data[2]&0x80 != 0 {
		d.Drop()
		return
	}
	select {
	case f.slots <- struct{}{}:
		d = d.Clone() // Data is valid only until Received returns
		go func() {
			f.forward(d)
			<-f.slots
		}()
	default:
		d.Drop()
	}
}

// forward asks one server after another, under an ID of the forwarder's own, since two clients
// may have chosen the same. A reply that fails is counted, and the client asks again.
func (f *forwarder) forward(d udp.Datagram) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	query := append([]byte(nil), d.Data...)
	for _, server := range f.servers {
		response, err := udp.Datagram{}, error(exchange.ErrDuplicate)
		for errors.Is(err, exchange.ErrDuplicate) { // another query has this ID
			binary.BigEndian.PutUint16(query, uint16(rand.Uint32()))
			response, err = f.client.Do(ctx, server, query)
		}
		if err == nil {
			copy(response.Data[:2], d.Data[:2])
			_ = d.Reply(response.Data)
			return
		}
	}
	failure := append([]byte(nil), d.Data[:headerSize]...) // and no question
	failure[2] |= 0x80                                     // a response
	failure[3] = byte(dnsmessage.RCodeServerFailure)
	clear(failure[4:])
	_ = d.Reply(failure)
}

func id(b []byte) (uint16, bool) {
	if len(b) < headerSize {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// sameQuestion rejects forged responses that guessed the ID only.
func sameQuestion(query, response []byte) bool {
	asked, _, err := question(query)
	got, isResponse, malformed := question(response)
	return err == nil && malformed == nil && isResponse && got == asked
}

func question(b []byte) (q dnsmessage.Question, isResponse bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err == nil {
		q, err = p.Question()
	}
	return q, h.Response, err
}
