package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"syscall"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// Close starts closing; Done is closed when the last callback has returned.
func ExampleConn_Close() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	c.Close()
	err = c.SendTo([]byte("late"), c.LocalAddrPort())
	fmt.Println(errors.Is(err, net.ErrClosed))
	<-c.Done()
	fmt.Println("closed")
	// Output:
	// true
	// closed
}

// A name in a goroutine of its own, by a resolver of one's own.
func ExampleConfig_ResolveAsync() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := udp.Config{Resolver: &net.Resolver{PreferGo: true}}
	found := cfg.ResolveAsync(ctx, "udp4", "127.0.0.1:53")
	select {
	case r := <-found:
		fmt.Println(r.Addrs, r.Err)
	case <-ctx.Done():
	}
	// Output: [127.0.0.1:53] <nil>
}

// What is too long for UDP fails before any system call, and the error says what
// would have fitted.
func ExampleSizeError() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.SendTo(make([]byte, 66_000), c.LocalAddrPort())
	if size, ok := errors.AsType[*udp.SizeError](err); ok {
		fmt.Println(size.Size, "bytes, at most", size.Max)
	}
	fmt.Println(errors.Is(err, udp.ErrTooLarge))
	// Output:
	// 66000 bytes, at most 65507
	// true
}

// With PeerErrors, an unconnected socket reports which of its peers has no listener.
func ExampleConfig_peerErrors() {
	network := udptest.NewNet(nil, udptest.Config{})
	lan := network.Segment("lan")
	host := lan.Host("here", "192.0.2.1/24")
	lan.Host("there", "192.0.2.2/24") // where nobody listens

	q := udp.NewQueue(16, udp.Block)
	c, err := udp.Config{Network: host.Network(), PeerErrors: true}.Listen(context.Background(), "udp4", ":0", q)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo([]byte("anybody?"), netip.MustParseAddrPort("192.0.2.2:7")); err != nil {
		log.Fatal(err)
	}
	_, err = q.Receive(context.Background())
	var r *udp.Refusal
	if !errors.As(err, &r) {
		log.Fatal(err)
	}
	fmt.Printf("%v did not get %q: %v\n", r.Peer, r.Payload, errors.Is(r, syscall.ECONNREFUSED))
	fmt.Println("reported by", r.Offender) // or a router on the way to the peer
	// Output:
	// 192.0.2.2:7 did not get "anybody?": true
	// reported by 192.0.2.2
}

// A Shutdown whose time is up closes the socket, and says why it has not waited.
func ExampleConn_Shutdown_timeout() {
	ctx, cancel := context.WithCancel(context.Background())
	release := make(chan struct{})
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		cancel() // the time is up while this one is handled
		<-release
	}))
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if err := c.SendTo([]byte("slow"), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	<-ctx.Done()
	err = c.Shutdown(ctx)
	fmt.Println(errors.Is(err, context.Canceled))
	close(release)
	<-c.Done()
	s := c.Stats()
	fmt.Println(s.Handled, "handled,", s.Dropped.Closed, "dropped")
	// Output:
	// true
	// 1 handled, 2 dropped
}

// A BatchError lists the messages that could not be sent; the others were.
func ExampleBatchError() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	sent, err := c.SendBatch([]udp.Message{
		{Data: []byte("one"), To: c.LocalAddrPort()},
		{Data: []byte("two"), To: netip.MustParseAddrPort("[::1]:7")},
		{Data: []byte("three"), To: c.LocalAddrPort()},
	})
	fmt.Println(sent, "sent")
	if failed, ok := errors.AsType[*udp.BatchError](err); ok {
		for _, f := range failed.Failed {
			fmt.Println("message", f.Index, errors.Is(f.Err, udp.ErrFamily))
		}
		fmt.Println(failed.Untried, "not tried")
	}
	// Output:
	// 2 sent
	// message 1 true
	// 0 not tried
}
