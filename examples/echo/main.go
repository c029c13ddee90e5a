// Echo sends back every datagram that it receives (RFC 862), from the address that was asked,
// until SIGINT or SIGTERM.
//
//	echo [-listen host:port]
//
// Try it with: nc -u localhost 7007
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	listen := flags.String("listen", ":7007", "`address` to listen on; port 7 needs privileges")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return cmp.Or(err, errors.New("takes flags only"))
	}
	c, err := cfg.Listen(ctx, "udp", *listen, udp.HandlerFunc(echo))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", c.LocalAddrPort())
	err = c.Run(ctx, 5*time.Second) // what arrived before the signal still gets its reply
	s := c.Stats()
	fmt.Fprintf(stdout, "received %d, replied to %d\n", s.Received, s.Sent)
	return err
}

func echo(_ *udp.Conn, d udp.Datagram) {
	// A reply that fails is counted in Stats.SendErrors. The client may ask again.
	_ = d.Reply(d.Data)
}
