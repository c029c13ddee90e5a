// Resolve prints the addresses of names, all of which it looks up at once.
//
//	resolve [-network udp|udp4|udp6] [-timeout duration] host:port...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/command"
)

const about = `Resolve prints the addresses of names, all of which it looks up at once.

usage: resolve [flags] host:port...`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "resolve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("resolve", flag.ContinueOnError)
	network := flags.String("network", "udp", "udp, udp4 for IPv4 only, udp6 for IPv6 only")
	timeout := flags.Duration("timeout", 10*time.Second, "give up after this `time`")
	if err := command.Parse(flags, about, args, stdout); err != nil {
		return err
	}
	names := flags.Args()
	if len(names) == 0 {
		return errors.New("needs names as host:port")
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	lookups := make([]<-chan udp.Resolved, len(names))
	for i, name := range names {
		lookups[i] = udp.ResolveAsync(ctx, *network, name)
	}
	var errs []error
	for i, name := range names {
		found := <-lookups[i] // it comes, at the latest when ctx ends
		errs = append(errs, found.Err)
		for _, addr := range found.Addrs {
			fmt.Fprintln(stdout, name, addr)
		}
	}
	return errors.Join(errs...)
}
