// Echo sends back every datagram it gets (RFC 862), from the address that was
// asked, until it is told to stop by SIGINT or SIGTERM.
//
//	echo [-listen host:port]
//
// Try it with: nc -u localhost 7007
package main

import (
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
	"github.com/udpkit/udp/examples/internal/command"
)

const about = `Echo sends back every datagram it gets.

usage: echo [flags]`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	listen := flags.String("listen", ":7007", "`address` to listen on; port 7 needs privileges")
	if err := command.Parse(flags, about, args, stdout); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	c, err := udp.Listen(ctx, "udp", *listen, udp.HandlerFunc(echo))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", c.LocalAddrPort())
	<-ctx.Done()

	// What has arrived is still answered.
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = c.Shutdown(last)
	s := c.Stats()
	fmt.Fprintf(stdout, "received %d, answered %d\n", s.Received, s.Sent)
	return err
}

func echo(_ *udp.Conn, d udp.Datagram) {
	// A failed answer is counted in Stats.SendErrors; the asker may ask again.
	_ = d.Reply(d.Data)
}
