// Mdns is a program, more than an example to copy: it announces and finds services in the local
// network by multicast DNS (RFC 6762) and DNS-based service discovery (RFC 6763).
//
//	mdns announce [-name text] [-host name] type port [key=value ...]
//	mdns browse   [-count n] [-wait duration] type
//	mdns query    [-type A] [-count n] [-wait duration] name
//
// All take -interface name and -port n, too. An example of a type is _http._tcp, and of a name
// host.local:
//
//	mdns announce _http._tcp 8080 path=/index.html
//	mdns browse _http._tcp
//	mdns query printer.local
//
// Each uses IPv4 and IPv6, as far as this host has them, on every interface, also
// on those that appear later.
//
// Some parts of the RFC are left out: announce does not probe whether its names are taken (RFC
// 6762, section 8.1), and does not wait for others before it answers (section 6). Names whose
// labels contain dots are ignored, because golang.org/x/net/dns/dnsmessage does not support them.
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
)

const about = `Mdns announces and finds services in the local network by multicast DNS.

usage: mdns announce [flags] type port [key=value ...]
       mdns browse [flags] type
       mdns query [flags] name
With -h after announce, browse or query: their flags.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mdns:", err)
		os.Exit(1)
	}
}

// settings are the arguments.
type settings struct {
	port  uint16
	ifs   []*net.Interface // empty: all of them
	name  string
	host  string
	kind  string // of records, "" is addresses
	count int
	wait  time.Duration
	rest  []string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	chosen, args, err := choose(about, args, stdout)
	if err != nil {
		return err
	}
	var s settings
	flags := flag.NewFlagSet("mdns "+chosen, flag.ContinueOnError)
	port := flags.Uint("port", 5353, "port; 0 lets announce choose a free one, for tests")
	name := flags.String("interface", "", "network interface; none is all")
	do, least, most := announce, 2, 1000
	usage := "Announce announces a service, such as _http._tcp 8080, and answers who asks.\n\nusage: mdns announce [flags] type port [key=value ...]"
	switch chosen {
	case "announce":
		hostname, _ := os.Hostname()
		flags.StringVar(&s.name, "name", "", "name of the service; none is the host's")
		flags.StringVar(&s.host, "host", hostname, "name of this host in the domain local")
	case "browse":
		do, least, most = browse, 1, 1
		usage = "Browse prints services of a type, such as _http._tcp, as they come (+) and go (-).\n\nusage: mdns browse [flags] type"
		flags.IntVar(&s.count, "count", 0, "end after so many services; 0 is never")
		flags.DurationVar(&s.wait, "wait", 5*time.Second, "how long to look; 0 is until interrupted")
	case "query":
		do, least, most = query, 1, 1
		usage = "Query prints what is known of a name, such as host.local.\n\nusage: mdns query [flags] name"
		flags.StringVar(&s.kind, "type", "", "A, AAAA, PTR, SRV, TXT or ANY; none is A and AAAA")
		flags.IntVar(&s.count, "count", 0, "end after so many answers; 0 is never")
		flags.DurationVar(&s.wait, "wait", time.Second, "how long to wait for answers; 0 is until interrupted")
	case "":
		return errors.New("needs announce, browse or query: see -h")
	default:
		return fmt.Errorf("unknown command %q: needs announce, browse or query", chosen)
	}
	if err := parse(flags, usage, args, stdout); err != nil {
		return err
	}
	if s.rest = flags.Args(); len(s.rest) < least || len(s.rest) > most {
		return fmt.Errorf("unexpected number of arguments: %q", s.rest)
	}
	if *port > 65535 || *port == 0 && chosen != "announce" {
		return fmt.Errorf("no port: %d", *port)
	}
	s.port = uint16(*port)
	if s.ifs, err = interfaces(*name); err != nil {
		return err
	}
	return do(ctx, s, stdout)
}

// waiting bounds a context by s.wait. It is called once the sockets are open, so that the time for
// opening them does not count.
func (s settings) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.wait)
}
