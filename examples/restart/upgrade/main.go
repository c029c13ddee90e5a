// Upgrade is a service that is replaced without losing a datagram: after SIGHUP it starts the program
// again, which may be another version of it, and hands its socket over. It replies to each
// datagram with the number of its process and the datagram.
//
//	upgrade [-listen host:port]
//
// The upgrade itself is github.com/cloudflare/tableflip's. If the new process fails to start, the old
// one continues.
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

	"github.com/cloudflare/tableflip"

	"github.com/udpkit/udp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, udp.Config{}); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer, cfg udp.Config) error {
	flags := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	listen := flags.String("listen", "localhost:7014", "`address` to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anything else: it would end the process
	defer signal.Stop(hangup)
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		return err
	}
	defer upgrader.Stop()
	pc, err := upgrader.ListenPacket("udp", *listen) // the parent's socket, or a new one
	if err != nil {
		return err
	}
	if err := upgrader.Ready(); err != nil {
		return err
	}
	// The parent ends now. What arrives meanwhile waits in the socket. Only one Conn at a time may
	// have it, since its options are common.
	if err := upgrader.WaitForParent(ctx); err != nil {
		return err
	}
	process := fmt.Appendf(nil, "%d ", os.Getpid())
	c, err := cfg.Adopt(pc.(*net.UDPConn), udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		_ = d.Reply(append(process[:len(process):len(process)], d.Data...))
	}))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "process %d listens on %v\n", os.Getpid(), c.LocalAddrPort())

	for {
		select {
		case <-hangup:
			go func() {
				if err := upgrader.Upgrade(); err != nil {
					fmt.Fprintln(stdout, "the old version goes on:", err)
				}
			}()
		case <-upgrader.Exit(): // the new process is ready: what is in the socket is for it
			left, err := c.Detach()
			if err != nil {
				return err
			}
			return left.Close()
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return c.Run(ctx, time.Second)
		}
	}
}
