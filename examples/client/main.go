// Client sends texts to a server, one datagram each, and prints the reply to each. It sends a
// text again if there is no reply, and also if an ICMP error reports that nobody listens, because
// the server may be starting.
//
//	client [-tries n] [-wait duration] host:port text...
//
// Package exchange does the same for protocols whose responses name their request, with many
// requests at a time.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	c := client{out: stdout, queue: udp.NewQueue(16, udp.DropNewest)}
	flags.IntVar(&c.tries, "tries", 3, "how often to send a text")
	flags.DurationVar(&c.wait, "wait", time.Second, "how long to wait for each reply")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("needs host:port and texts")
	}
	if c.tries < 1 || c.wait <= 0 {
		return errors.New("-tries and -wait must be positive")
	}
	// A name is resolved here, once. Later sends never wait for a name server.
	conn, err := cfg.Dial(ctx, "udp", flags.Arg(0), c.queue)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, text := range flags.Args()[1:] {
		if err := c.ask(ctx, conn, text); err != nil {
			return err
		}
	}
	return nil
}

type client struct {
	out   io.Writer
	queue *udp.Queue
	tries int
	wait  time.Duration
}

// ask sends text until a reply comes.
func (c *client) ask(ctx context.Context, conn *udp.ConnectedConn, text string) error {
	for range c.tries {
		if err := conn.Send([]byte(text)); err != nil {
			return err
		}
		replied, err := c.receive(ctx)
		if replied || err != nil {
			return err
		}
	}
	return fmt.Errorf("no reply to %q, sent %d times", text, c.tries)
}

// receive prints the next datagram, or returns false if none arrived in time.
func (c *client) receive(ctx context.Context) (replied bool, err error) {
	once, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	for {
		d, err := c.queue.Receive(once)
		var refusal *udp.Refusal
		switch {
		case err == nil:
			fmt.Fprintf(c.out, "received %q from %v\n", d.Data, d.From)
			d.Release()
			return true, nil
		case errors.As(err, &refusal):
			fmt.Fprintln(c.out, "nobody listens:", refusal.Err)
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			return false, nil
		default:
			return false, err // what stopped the socket
		}
	}
}
