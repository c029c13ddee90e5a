// Tour shows what package udp does, step by step, on the loopback interface only. It needs no
// privileges and ends by itself. With -debug it runs until it is interrupted, and prints the
// URL of a page that shows its sockets.
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
	"text/tabwriter"
	"time"

	"github.com/udpkit/udp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

// A tour keeps the sockets of all its steps, whose counters it shows at the end.
type tour struct {
	out     io.Writer
	sockets []namedSocket
}

type namedSocket struct {
	name string
	*udp.Conn
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("tour", flag.ContinueOnError)
	debug := flags.Bool("debug", false, "end with a live page")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil // it has been printed
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return errors.New("takes no arguments")
	}
	t := &tour{out: stdout}
	defer t.close()
	if err := t.steps(ctx); err != nil || !*debug {
		return err
	}
	return t.debug(ctx)
}

// steps takes a minute at most.
func (t *tour) steps(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{
		t.echo, t.refused, t.multicast, t.resolve, t.counters,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// echo: a server that sends back what it gets, and a client.
func (t *tour) echo(ctx context.Context) error {
	t.title("1. An echo server replies to a client")
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", echoer)
	if err != nil {
		return err
	}
	t.add("echo server", server)
	t.say("the server listens on %v", server.LocalAddrPort())

	replies := udp.NewQueue(16, udp.Block)
	client, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), replies)
	if err != nil {
		return err
	}
	t.add("echo client", client.Conn)
	for _, text := range []string{"hello", ""} { // an empty datagram is one, too
		if err := client.Send([]byte(text)); err != nil {
			return err
		}
		d, err := replies.Receive(ctx)
		if err != nil {
			return err
		}
		t.say("the client sent %q and got %q from %v", text, d.Data, d.From)
		d.Release()
	}
	return nil
}

var echoer = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
	// The error is counted in Stats, and echo (RFC 862) promises nothing.
	_ = d.Reply(d.Data)
})

// refused shows a connected client that gets an ICMP error because nobody listens, continues, and
// gets a reply as soon as somebody does.
func (t *tour) refused(ctx context.Context) error {
	t.title("2. A connected client learns that nobody listens, and then gets a reply")
	// A connected socket receives from its peer only: to the client, nobody listens on its port.
	// No other program can take the port meanwhile.
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", echoer)
	if err != nil {
		return err
	}
	t.add("late server", server)
	busy, err := server.Connect(t.sockets[0].LocalAddrPort())
	if err != nil {
		return err
	}

	replies := udp.NewQueue(16, udp.Block)
	client, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), replies)
	if err != nil {
		return err
	}
	t.add("early client", client.Conn)
	if err := client.Send([]byte("anybody?")); err != nil {
		return err
	}
	_, err = replies.Receive(ctx)
	t.say("the client received: %v", err)
	t.say("is that udp.ErrRefused? %v", errors.Is(err, udp.ErrRefused))

	if _, err := busy.Disconnect(); err != nil {
		return err
	}
	t.say("now the server listens on %v", server.LocalAddrPort())
	if err := client.Send([]byte("anybody now?")); err != nil {
		return err
	}
	d, err := replies.Receive(ctx)
	if err != nil {
		return err
	}
	defer d.Release()
	t.say("the same client, on the same port, got %q", d.Data)
	return nil
}

// multicast: a client that knows a group finds the server that joined it.
func (t *tour) multicast(ctx context.Context) error {
	t.title("3. A multicast server and a client find each other")
	loopback, err := loopbackInterface()
	if err != nil {
		return err
	}
	group := netip.MustParseAddr("239.255.4.7") // of this site only (RFC 2365)
	server, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		_ = d.Reply([]byte("here I am"))
	}))
	if err != nil {
		return err
	}
	t.add("group server", server.Conn)
	// Without an interface, Join joins on every one.
	if err := server.Join(group, loopback); err != nil {
		return err
	}
	for _, m := range server.Memberships() {
		for _, on := range m.On {
			t.say("the server joined %v on %s", m.Group, on.Name)
		}
	}

	replies := udp.NewQueue(16, udp.Block)
	client, err := udp.ListenMulticast(ctx, "udp4", "127.0.0.1:0", replies)
	if err != nil {
		return err
	}
	t.add("group client", client.Conn)
	if err := client.SetMulticastInterface(loopback); err != nil {
		return err
	}
	to := netip.AddrPortFrom(group, server.LocalAddrPort().Port())
	if err := client.SendTo([]byte("who is there?"), to); err != nil {
		return err
	}
	d, err := replies.Receive(ctx)
	if err != nil {
		return err
	}
	defer d.Release()
	t.say("the client asked %v and got %q from %v", to, d.Data, d.From)
	return nil
}

// resolve: names become addresses before anything is sent.
func (t *tour) resolve(ctx context.Context) error {
	t.title("4. A name is resolved")
	addrs, err := udp.Resolve(ctx, "udp", "localhost:domain")
	if err != nil {
		return err
	}
	t.say("localhost:domain is %v", addrs)
	select {
	case r := <-udp.ResolveAsync(ctx, "udp4", "localhost:53"):
		if r.Err != nil {
			return r.Err
		}
		t.say("and with IPv4 only %v", r.Addrs)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// counters closes the sockets, in order, and shows what each has counted.
func (t *tour) counters(ctx context.Context) error {
	t.title("5. Everything was counted")
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "socket\treceived\thandled\tdropped\tkernel drops\tsent\tsend errors\trefused\t")
	for _, s := range t.sockets {
		if err := s.Shutdown(ctx); err != nil {
			return err
		}
		c := s.Stats()
		kernel := "unknown"
		if c.KernelDrops >= 0 {
			kernel = fmt.Sprint(c.KernelDrops)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t\n", s.name,
			c.Received, c.Handled, c.Dropped.Total(), kernel, c.Sent, c.SendErrors, c.Refused)
	}
	return w.Flush()
}

func loopbackInterface() (*net.Interface, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, ifi := range ifs {
		if ifi.Flags&net.FlagLoopback != 0 && ifi.Flags&net.FlagUp != 0 {
			return &ifi, nil
		}
	}
	return nil, errors.New("there is no loopback interface")
}

func (t *tour) add(name string, c *udp.Conn) {
	t.sockets = append(t.sockets, namedSocket{name, c})
}

func (t *tour) close() {
	for _, s := range t.sockets {
		s.Close()
	}
}

func (t *tour) title(s string) { fmt.Fprintf(t.out, "\n%s\n", s) }

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.out, "   "+format+"\n", args...) }
