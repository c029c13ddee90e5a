package main

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udpdebug"
)

// debug serves a page with the sockets of the tour, which are closed by now, and two that exchange
// datagrams until ctx is done.
func (t *tour) debug(ctx context.Context) error {
	t.title("6. A page shows the sockets of a program")
	page := udpdebug.New(udpdebug.Config{})
	peers := udpdebug.NewPeers(0)
	cfg := udp.Config{Trace: peers.Trace()} // finds the peers that send most
	server, err := cfg.Listen(ctx, "udp4", "127.0.0.1:0", echoer)
	if err != nil {
		return err
	}
	t.add("live server", server)
	client, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), udp.BaseHandler{})
	if err != nil {
		return err
	}
	t.add("live client", client.Conn)
	for _, s := range slices.Backward(t.sockets) {
		page.AddSocket(s.name, s)
	}
	page.AddPeers("live server", peers)

	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: page, ReadHeaderTimeout: time.Minute}
	defer page.Close()
	defer web.Close()
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(ln) }()
	t.say("press Ctrl-C to end")
	t.say("open http://%v/", ln.Addr())
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := client.Send([]byte("hello")); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
