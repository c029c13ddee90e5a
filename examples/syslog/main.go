// Syslog collects log messages of RFC 3164 and RFC 5424 over UDP (RFC 5426) and writes each as
// one line: the time of arrival, the sender, facility and severity, and the rest unchanged. On
// SIGTERM or SIGINT it writes everything that has arrived, and ends.
//
//	syslog [-listen host:port] [-queue n] [-buffer bytes]
//
// Try it with: logger -d -n localhost -P 5514 hello
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "syslog:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("syslog", flag.ContinueOnError)
	listen := flags.String("listen", ":5514", "`address` to listen on; the standard port, 514, needs privileges")
	capacity := flags.Int("queue", 4096, "how many messages may wait to be written")
	buffer := flags.Int("buffer", 8<<20, "kernel buffer to ask for, `bytes`; a burst must fit into it")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return cmp.Or(err, errors.New("takes flags only"))
	}
	// While the queue is full, datagrams wait in the kernel's buffer. The kernel counts those that do
	// not fit.
	queue := udp.NewQueue(*capacity, udp.Block)
	cfg := udp.Config{ReadBuffer: *buffer, Timestamps: true}
	c, err := cfg.Listen(ctx, "udp", *listen, queue)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(stderr, "listening on %v with a buffer of %s\n", c.LocalAddrPort(), granted(c.Info().ReadBuffer, *buffer))

	written := make(chan error, 1)
	go func() {
		err := write(stdout, queue)
		c.Close() // if it cannot write any more: there is no use in receiving
		written <- err
	}()
	// After Run everything that arrived is in the queue. When it is empty, the queue and write end.
	err = errors.Join(c.Run(ctx, 30*time.Second), <-written)
	s := c.Stats()
	fmt.Fprintf(stderr, "%d messages received, %d written, %d dropped, %d lost by the kernel (-1 is unknown)\n",
		s.Received, s.Handled, s.Dropped.Total(), s.KernelDrops)
	return err
}

// granted describes the size of a buffer, and warns if it is smaller than requested.
func granted(bytes, asked int) string {
	if bytes < asked {
		return fmt.Sprintf("%d bytes (asked for %d; on Linux see net.core.rmem_max)", bytes, asked)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// write writes the messages of the queue until the queue ends or the output fails. It flushes
// whenever the queue is empty.
func write(out io.Writer, queue *udp.Queue) error {
	w := bufio.NewWriterSize(out, 64<<10)
	datagrams := queue.Datagrams()
	for d := range datagrams {
		arrived := d.Time() // of the kernel, where it says so
		if arrived.IsZero() {
			arrived = time.Now()
		}
		fmt.Fprintf(w, "%s %v %s\n", arrived.UTC().Format(time.RFC3339Nano), d.From.Addr(), line(d.Data))
		d.Release() // line copied what it needed
		if len(datagrams) == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

var severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// line is a message with its priority in words. A message without a valid priority is from
// user.notice (RFC 3164, section 4.3.3).
func line(b []byte) string {
	pri, text, ok := priority(b)
	if !ok {
		pri, text = 1*8+5, b
	}
	return facilities[pri/8] + "." + severities[pri%8] + " " + clean(text)
}

// priority reads <PRI>, one to three digits up to 191.
func priority(b []byte) (pri int, text []byte, ok bool) {
	digits, text, ok := bytes.Cut(b, []byte(">"))
	if !ok || len(digits) < 2 || len(digits) > 4 || digits[0] != '<' {
		return 0, nil, false
	}
	n, err := strconv.ParseUint(string(digits[1:]), 10, 8)
	return int(n), text, err == nil && int(n) < len(facilities)*len(severities)
}

// clean escapes what is not printable, so that a message is one line and cannot send commands to
// a terminal. It drops a line end at the end.
func clean(b []byte) string {
	quoted := strconv.Quote(string(bytes.TrimRight(b, "\r\n\x00")))
	text := []byte(quoted[1 : len(quoted)-1])
	return string(bytes.ReplaceAll(text, []byte(`\"`), []byte(`"`)))
}
