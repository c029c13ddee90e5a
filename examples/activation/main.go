// Activation is a service that systemd starts when the first datagram arrives (systemd.socket(5)).
// It replies with the time to each datagram. After a while without any it ends, and systemd starts
// it again for the next one: systemd keeps the socket, so what arrives meanwhile waits there.
//
//	activation [-idle duration] [-listen host:port]
//
// The unit activation.socket has "ListenDatagram=7013" in its section [Socket], and
// activation.service has "ExecStart=/usr/local/bin/activation" in [Service]. Started by hand, the
// program listens by itself.
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
	"strconv"
	"syscall"
	"time"

	"github.com/udpkit/udp"
)

const firstDescriptor = 3 // sd_listen_fds(3)

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
	timer := time.AfterFunc(*idle, cancel)
	defer timer.Stop()
	clock := udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		timer.Reset(*idle)
		_ = d.Reply([]byte(time.Now().Format(time.RFC3339)))
	})

	passed, err := inherited()
	if err != nil {
		return err
	}
	var c *udp.Conn
	if passed != nil {
		c, err = cfg.Adopt(passed, clock)
	} else {
		c, err = cfg.Listen(ctx, "udp", *listen, clock)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on %v, passed by systemd: %t\n", c.LocalAddrPort(), passed != nil)
	err = c.Run(ctx, time.Second)
	fmt.Fprintf(stdout, "replied to %d\n", c.Stats().Sent)
	return err
}

// inherited returns the socket that systemd passed to this process, nil if there is none.
func inherited() (*net.UDPConn, error) {
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid != os.Getpid() || n == 0 {
		return nil, nil
	}
	if n > 1 {
		return nil, fmt.Errorf("systemd passed %d sockets, but the service has one", n)
	}
	f := os.NewFile(firstDescriptor, "LISTEN_FD_3")
	defer f.Close() // FilePacketConn duplicates the descriptor
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := pc.(*net.UDPConn)
	if !ok {
		pc.Close()
		return nil, fmt.Errorf("systemd passed a %T, not a UDP socket", pc)
	}
	return uc, nil
}
