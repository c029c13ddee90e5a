// Ntp asks time servers for the time (SNTP, RFC 4330) and prints the error of this host's clock,
// with its uncertainty. If the system has timestamps, it uses that of the response's arrival, so a
// busy processor does not add to the uncertainty.
//
//	ntp [-tries n] [-wait duration] server...
//
// Try it with: ntp pool.ntp.org:123
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
)

const (
	size             = 48 // bytes of a message
	client, server   = 3, 4
	version          = 4
	unsynchronized   = 3
	secondsFrom1900  = 2_208_988_800 // to 1970
	secondsOfOneEra  = 1 << 32
	originAt, sentAt = 24, 40 // of the fields, bytes; between them is when the server received
	receivedAt       = 32
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "ntp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("ntp", flag.ContinueOnError)
	tries := flags.Int("tries", 3, "how often to ask each server")
	wait := flags.Duration("wait", time.Second, "how long to wait for each response")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 || *tries < 1 || *wait <= 0 {
		return errors.New("needs servers as host:port, and positive -tries and -wait")
	}
	cfg.Timestamps = true
	// One transmission per request: with several, the response could belong to any of them.
	c, err := exchange.New(exchange.Config[[8]byte]{
		Key: key, Match: valid, Attempts: 1, Schedule: func(int) time.Duration { return *wait },
		SocketPerRequest: true, Socket: cfg,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for _, address := range flags.Args() {
		best, err := sample{}, error(nil)
		for i := 0; i < *tries && ctx.Err() == nil; i++ {
			s, e := ask(ctx, c, address)
			if e == nil && (best.from == "" || s.delay < best.delay) {
				best = s // the shortest way has the least error
			}
			err = e
		}
		if best.from == "" {
			errs = append(errs, fmt.Errorf("%s: %w", address, err))
			continue
		}
		fmt.Fprintf(stdout, "%s (%s): offset %v, at most %v wrong\n", address, best.from, best.offset, best.delay/2)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

type sample struct {
	from          string
	offset, delay time.Duration
}

func ask(ctx context.Context, c *exchange.Client[[8]byte], address string) (sample, error) {
	request := make([]byte, size)
	request[0] = version<<3 | client
	// A random number instead of the time: the server returns it, and no forger can guess it.
	_, _ = rand.Read(request[sentAt:]) // it never fails
	asked := time.Now()
	d, err := c.Do(ctx, address, request)
	if err != nil {
		return sample{}, err
	}
	arrived := d.Time()
	if arrived.IsZero() { // the system has no timestamps
		arrived = time.Now()
	}
	asked = asked.Round(0) // arrived has no monotonic reading either
	received, sent := timeAt(d.Data[receivedAt:], asked), timeAt(d.Data[sentAt:], asked)
	return sample{
		from:   d.From.String(),
		offset: (received.Sub(asked) + sent.Sub(arrived)) / 2,
		delay:  arrived.Round(0).Sub(asked) - sent.Sub(received),
	}, nil
}

// key is the transmit timestamp of a request, which the response has as its origin.
func key(b []byte) (k [8]byte, ok bool) {
	if len(b) < size {
		return k, false
	}
	at := originAt
	if b[0]&7 == client {
		at = sentAt
	}
	return [8]byte(b[at : at+8]), true
}

// valid makes the checks of RFC 4330, section 5.
func valid(_, b []byte) bool {
	stratum := b[1]
	return b[0]&7 == server && b[0]>>6 != unsynchronized && stratum > 0 && stratum < 16 &&
		binary.BigEndian.Uint64(b[sentAt:]) != 0
}

// timeAt reads a timestamp: seconds since 1900, and a fraction in units of 2^-32 seconds. Of the
// eras, each of 136 years, it chooses the one that brings it nearest to now.
func timeAt(b []byte, now time.Time) time.Time {
	seconds := int64(binary.BigEndian.Uint32(b)) - secondsFrom1900
	fraction := int64(binary.BigEndian.Uint32(b[4:]))
	for now.Unix()-seconds > secondsOfOneEra/2 {
		seconds += secondsOfOneEra
	}
	return time.Unix(seconds, fraction*int64(time.Second)>>32)
}
