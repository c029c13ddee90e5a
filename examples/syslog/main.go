// Syslog collects log messages (RFC 3164 and RFC 5424, over UDP as in RFC 5426)
// and writes each as one line of text. On SIGTERM or SIGINT it takes what has
// arrived until then, and ends.
//
//	syslog [-listen host:port] [-queue n] [-buffer bytes]
//
// Try it with: logger -d -n localhost -P 5514 hello
package main

import (
	"bufio"
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

const about = `Syslog collects log messages and writes each as one line of text.

usage: syslog [flags]`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "syslog:", err)
		os.Exit(1)
	}
}

// patience bounds how long the end may take.
const patience = 30 * time.Second

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("syslog", flag.ContinueOnError)
	listen := flags.String("listen", ":5514", "`address` to listen on; the standard port, 514, needs privileges")
	capacity := flags.Int("queue", 4096, "messages that wait for being written")
	buffer := flags.Int("buffer", 8<<20, "kernel buffer to ask for, `bytes`; it is what a burst fits into")
	if err := command.Parse(flags, about, args, stdout); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	// When the queue is full the kernel's buffer takes what comes, and counts what
	// it can't take.
	queue := udp.NewQueue(*capacity, udp.Block)
	cfg := udp.Config{ReadBuffer: *buffer}
	c, err := cfg.Listen(ctx, "udp", *listen, queue)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(stderr, "listening on %v with a buffer of %s\n", c.LocalAddrPort(), granted(c.Info().ReadBuffer, *buffer))

	written := make(chan error, 1)
	go func() { written <- write(stdout, queue) }()
	select {
	case err = <-written: // it can't write any more
		return errors.Join(err, c.Close())
	case <-ctx.Done():
	}

	// What has arrived goes into the queue, which then ends, and so does write.
	last, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = errors.Join(c.Shutdown(last), <-written)
	s := c.Stats()
	fmt.Fprintf(stderr, "%d messages received, %d written, %d dropped, %d lost by the kernel (-1 is unknown)\n",
		s.Received, s.Handled, s.Dropped.Total(), s.KernelDrops)
	return err
}

// granted tells the size of a buffer, and when it is less than was asked for.
func granted(bytes, asked int) string {
	if bytes < asked {
		return fmt.Sprintf("%d bytes (asked for %d; on Linux see net.core.rmem_max)", bytes, asked)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// write writes what comes out of the queue until its socket has stopped. It
// flushes when there is nothing more to write for now.
func write(out io.Writer, queue *udp.Queue) error {
	w := bufio.NewWriterSize(out, 64<<10)
	datagrams := queue.Datagrams()
	for d := range datagrams {
		m := parse(d.Data, time.Now())
		if m.Host == "" {
			m.Host = d.From.Addr().String()
		}
		fmt.Fprintln(w, m)
		d.Release() // nothing of m lies in it
		if len(datagrams) == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}
