// Activation is a service that systemd starts when the first datagram arrives (systemd.socket(5)).
// It replies with the time to each datagram. After a while without any it ends, and systemd starts
// it again for the next one. The socket stays open all the time: what arrives in between waits in
// it, and what was in it when the service is restarted is not lost.
//
//	activation [-idle duration] [-listen host:port]
//
// The unit activation.socket has "ListenDatagram=7013" and "FileDescriptorName=clock" in its section
// [Socket], and activation.service has "ExecStart=/usr/local/bin/activation" in [Service]. Started by
// hand, the program listens by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/udpkit/udp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "activation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("activation", flag.ContinueOnError)
	idle := flags.Duration("idle", time.Minute, "end after this time without a datagram")
	listen := flags.String("listen", "localhost:7013", "`address` to listen on when systemd passes no socket")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *idle <= 0 {
		return errors.New("-idle must be positive")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(math.MaxInt64, cancel) // until the socket is open
	defer timer.Stop()
	clock := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		timer.Reset(*idle)
		_ = d.Reply([]byte(time.Now().Format(time.RFC3339)))
	})

	passed, name, err := inherited()
	if err != nil {
		return err
	}
	if passed == nil {
		c, err := cfg.Listen(ctx, "udp", *listen, clock)
		if err != nil {
			return err
		}
		timer.Reset(*idle)
		fmt.Fprintf(stdout, "listening on %v\n", c.LocalAddrPort())
		return c.Run(ctx, time.Second)
	}
	c, err := cfg.Adopt(passed, clock)
	if err != nil {
		return err
	}
	timer.Reset(*idle)
	fmt.Fprintf(stdout, "listening on %v, passed by systemd as %s\n", c.LocalAddrPort(), name)
	select {
	case <-ctx.Done():
	case <-c.Done():
		return c.Err()
	}
	// Shutdown would turn away what arrives from now on, and Close would drop what waits. Both are
	// for the next start: systemd has the socket too.
	left, err := c.Detach()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "replied to %d\n", c.Stats().Sent)
	return left.Close()
}

// inherited returns the socket that systemd passed to this process and its name, nil if there is none.
func inherited() (*net.UDPConn, string, error) {
	files := activation.Files(true)
	for _, f := range files {
		defer f.Close() // FilePacketConn duplicates the descriptor
	}
	switch len(files) {
	case 0:
		return nil, "", nil
	case 1:
	default:
		return nil, "", fmt.Errorf("systemd passed %d sockets, but the service has one", len(files))
	}
	pc, err := net.FilePacketConn(files[0])
	if err != nil {
		return nil, "", err
	}
	uc, ok := pc.(*net.UDPConn)
	if !ok {
		pc.Close()
		return nil, "", fmt.Errorf("systemd passed a %T, not a UDP socket", pc)
	}
	return uc, files[0].Name(), nil
}
