// Discovery finds services in the local network by multicast.
//
//	discovery serve [-group addr:port] [-interface name] [-id text] [-data text]
//	discovery find  [-group addr:port] [-interface name] [-id text] [-count n] [-wait duration]
//
// The client sends an id to the group and prints each reply. A server joins the group and replies
// to its id with its data. Several servers on one host can share the group's port.
package main

import (
	"cmp"
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
)

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
	local netip.Addr       // unspecified, of the group's family
	ifs   []*net.Interface // empty: all of them
	id    string
	data  string
	count int
	wait  time.Duration
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 || args[0] != "serve" && args[0] != "find" {
		return errors.New("needs serve or find")
	}
	var s settings
	flags := flag.NewFlagSet("discovery "+args[0], flag.ContinueOnError)
	group := flags.String("group", "239.255.80.5:8005", "multicast `group` and port")
	name := flags.String("interface", "", "network interface; none is all")
	flags.StringVar(&s.id, "id", "UniqueID", "what the client asks for")
	flags.StringVar(&s.data, "data", "data", "what the server replies")
	flags.IntVar(&s.count, "count", 0, "find: end after so many replies; 0 is never")
	flags.DurationVar(&s.wait, "wait", time.Second, "find: how long to wait for replies")
	err := flags.Parse(args[1:])
	if err != nil || flags.NArg() > 0 {
		return cmp.Or(err, errors.New("takes flags only"))
	}
	if s.group, err = netip.ParseAddrPort(*group); err != nil {
		return fmt.Errorf("-group %q: %w", *group, err)
	}
	s.local = netip.IPv6Unspecified()
	if s.group.Addr().Is4() {
		s.local = netip.IPv4Unspecified()
	}
	if *name != "" {
		ifi, err := net.InterfaceByName(*name)
		if err != nil {
			return fmt.Errorf("-interface %q: %w", *name, err)
		}
		s.ifs = []*net.Interface{ifi}
	}
	if args[0] == "find" {
		return find(ctx, s, stdout)
	}
	return serve(ctx, s, stdout)
}

func serve(ctx context.Context, s settings, stdout io.Writer) error {
	cfg := udp.Config{ReuseAddr: true} // other servers on this host may use the port
	address := netip.AddrPortFrom(s.local, s.group.Port()).String()
	m, err := cfg.ListenMulticast(ctx, "udp", address, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		// Anybody can send to a group, and to a port.
		if string(d.Data) != s.id {
			d.Drop()
			return
		}
		fmt.Fprintf(stdout, "%v asked for %q\n", d.From, d.Data)
		_ = d.Reply([]byte(s.data)) // a failure is counted, and the client may ask again
	}))
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Join(s.group.Addr(), s.ifs...); err != nil {
		return err
	}
	for _, on := range m.Memberships()[0].On {
		if on.Err != nil {
			fmt.Fprintf(stdout, "cannot join on %s: %v\n", on.Name, on.Err)
			continue
		}
		fmt.Fprintf(stdout, "joined %v on %s\n", s.group.Addr(), on.Name)
	}
	fmt.Fprintln(stdout, "serving", netip.AddrPortFrom(s.group.Addr(), m.LocalAddrPort().Port()))
	return m.Run(ctx, time.Second)
}

func find(ctx context.Context, s settings, stdout io.Writer) error {
	// It joins no group: replies are sent to its own address.
	replies := udp.NewQueue(64, udp.DropNewest)
	m, err := udp.ListenMulticast(ctx, "udp", netip.AddrPortFrom(s.local, 0).String(), replies)
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	began := time.Now()
	// On each interface. SendGroup succeeds if one of them works.
	if _, err := m.SendGroup([]byte(s.id), s.group.Addr(), s.group.Port(), s.ifs...); err != nil {
		return err
	}
	for n := 0; s.count == 0 || n < s.count; n++ {
		d, err := replies.Receive(ctx)
		switch {
		case ctx.Err() != nil && n > 0 && s.count == 0:
			return nil // the time is over, and it has found something
		case ctx.Err() != nil:
			return fmt.Errorf("%d replies in %v", n, time.Since(began).Round(10*time.Millisecond))
		case err != nil:
			return err
		}
		fmt.Fprintf(stdout, "%v replied %q\n", d.From, d.Data)
		d.Release()
	}
	return nil
}
