// Discovery finds services in the local network by multicast.
//
//	discovery serve [-group addr:port] [-interface name] [-id text] [-data text]
//	discovery find  [-group addr:port] [-interface name] [-id text] [-count n] [-wait duration]
//
// The server joins the group and answers who asks for its id with its data; the
// client asks, and prints each answer. Several servers on one host can share
// the group's port.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/examples/internal/command"
)

const about = `Discovery finds services in the local network by multicast.

usage: discovery serve [flags]
       discovery find [flags]
With -h after serve or find: their flags.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "discovery:", err)
		os.Exit(1)
	}
}

// settings are the arguments.
type settings struct {
	group netip.AddrPort
	ifs   []*net.Interface // empty: all of them
	id    string
	data  string
	count int
	wait  time.Duration
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	chosen, args, err := command.Choose(about, args, stdout)
	if err != nil {
		return err
	}
	var s settings
	flags := flag.NewFlagSet("discovery "+chosen, flag.ContinueOnError)
	group := flags.String("group", "239.255.80.5:8005", "multicast group and port; port 0 lets a server choose a free one")
	name := flags.String("interface", "", "network interface; none is all")
	flags.StringVar(&s.id, "id", "UniqueID", "what the client asks for")
	do, usage := serve, "Serve answers who asks for its id.\n\nusage: discovery serve [flags]"
	switch chosen {
	case "serve":
		flags.StringVar(&s.data, "data", "data", "what the server answers")
	case "find":
		do, usage = find, "Find asks for an id, and prints each answer.\n\nusage: discovery find [flags]"
		flags.IntVar(&s.count, "count", 0, "end after so many answers; 0 is never")
		flags.DurationVar(&s.wait, "wait", time.Second, "how long to wait for answers")
	case "":
		return errors.New("needs serve or find: see -h")
	default:
		return fmt.Errorf("unknown command %q: needs serve or find", chosen)
	}
	if err := command.Parse(flags, usage, args, stdout); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.group, err = netip.ParseAddrPort(*group); err != nil {
		return fmt.Errorf("-group %q: %w", *group, err)
	}
	if s.ifs, err = command.Interfaces(*name); err != nil {
		return err
	}
	return do(ctx, s, stdout)
}

// A server answers those who ask for its id.
type server struct {
	udp.BaseHandler
	settings
	out io.Writer
}

func serve(ctx context.Context, s settings, stdout io.Writer) error {
	cfg := udp.Config{ReuseAddr: true} // others on this host may serve, too
	port := netip.AddrPortFrom(unspecified(s.group), s.group.Port())
	m, err := cfg.ListenMulticast(ctx, "udp", port.String(), &server{settings: s, out: stdout})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Join(s.group.Addr(), s.ifs...); err != nil {
		return err
	}
	for _, joined := range m.Memberships() {
		for _, on := range joined.On {
			if on.Err != nil {
				fmt.Fprintf(stdout, "can't join on %s: %v\n", on.Name, on.Err)
				continue
			}
			fmt.Fprintf(stdout, "joined %v on %s\n", joined.Group, on.Name)
		}
	}
	fmt.Fprintln(stdout, "serving", netip.AddrPortFrom(s.group.Addr(), m.LocalAddrPort().Port()))
	select {
	case <-ctx.Done():
		return nil
	case <-m.Done():
		return net.ErrClosed
	}
}

func (s *server) Received(_ *udp.Conn, d udp.Datagram) {
	// A group is open to everybody, and so is a port: only those are answered who
	// know what they ask for.
	if string(d.Data) != s.id {
		return
	}
	fmt.Fprintf(s.out, "%v asked for %q\n", d.From, d.Data)
	if err := d.Reply([]byte(s.data)); err != nil {
		fmt.Fprintln(s.out, err)
	}
}

func find(ctx context.Context, s settings, stdout io.Writer) error {
	// It joins no group: answers come to its own address.
	answers := udp.NewQueue(64, udp.DropNewest)
	local := netip.AddrPortFrom(unspecified(s.group), 0)
	m, err := udp.ListenMulticast(ctx, "udp", local.String(), answers)
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	began := time.Now()
	// Out of each interface; it is enough that one works.
	if _, err := m.SendGroup([]byte(s.id), s.group.Addr(), s.group.Port(), s.ifs...); err != nil {
		return err
	}
	for n := 0; s.count == 0 || n < s.count; n++ {
		select {
		case d := <-answers.Datagrams():
			fmt.Fprintf(stdout, "%v answered %q\n", d.From, d.Data)
			d.Release()
		case <-ctx.Done():
			if n == 0 || s.count > 0 {
				return fmt.Errorf("%d answers in %v", n, time.Since(began).Round(10*time.Millisecond))
			}
			return nil
		}
	}
	return nil
}

// unspecified is the address of every interface, of the group's family.
func unspecified(group netip.AddrPort) netip.Addr {
	if group.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
