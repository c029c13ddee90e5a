// Helloer says hello to one peer, again and again, and prints what comes back,
// also that nobody listens there.
//
//	helloer [-every duration] [-count n] host:port
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/command"
)

const about = `Helloer says hello to one peer, again and again, and prints what comes back.

usage: helloer [flags] host:port`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "helloer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("helloer", flag.ContinueOnError)
	every := flags.Duration("every", time.Second, "`time` between two hellos")
	count := flags.Int("count", 0, "end after so many answers; 0 is never")
	if err := command.Parse(flags, about, args, stdout); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("needs one argument, host:port")
	}
	if *every <= 0 {
		return errors.New("-every must be positive")
	}

	c, err := udp.Dial(ctx, "udp", flags.Arg(0), &helloer{out: stdout, left: *count})
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// A hello that nobody hears is no error: Refused is told.
			if err := c.Send(hello); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
		case <-c.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

var hello = []byte("hello")

// A helloer is the Handler of one connected socket. Its callbacks never run at
// the same time, so it needs no lock.
type helloer struct {
	udp.BaseHandler // for Stopped, which does nothing
	out             io.Writer
	left            int // answers to wait for; 0: no end
}

// Started says the first hello.
func (h *helloer) Started(c *udp.Conn) {
	peer, _ := c.Connected()
	fmt.Fprintln(h.out, "now we can only send to", peer.RemoteAddrPort())
	if err := peer.Send(hello); err != nil {
		fmt.Fprintln(h.out, err)
	}
}

func (h *helloer) Received(c *udp.Conn, d udp.Datagram) {
	fmt.Fprintf(h.out, "received %q from %v\n", d.Data, d.From)
	if h.left--; h.left == 0 {
		c.Close()
	}
}

// Refused is called when the peer's host says that nobody listens there. The
// socket goes on: somebody may come.
func (h *helloer) Refused(_ *udp.Conn, r *udp.Refusal) {
	fmt.Fprintln(h.out, "nobody listens:", r.Err)
}
