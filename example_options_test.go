package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// A DHCP server on one device, which may be started before the device exists. These options
// need Linux, and some need privileges.
func ExampleConfig_device() {
	cfg := udp.Config{
		Device:         "eth1",
		WaitForNetwork: true, // until ctx ends
		Broadcast:      true,
		ReusePort:      true, // another version of this program takes over
		TrafficClass:   0xc0, // CS6, for network control
		Mark:           7,    // for policy routing
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := cfg.Listen(ctx, "udp4", ":67", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// A proxy that receives what a firewall redirects to it, and replies in the name of the
// original destination, by the link that the request came from.
func ExampleConfig_transparent() {
	cfg := udp.Config{Transparent: true, FreeBind: true, ReplyByInterface: true}
	c, err := cfg.Listen(context.Background(), "udp", ":5353", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		fmt.Println("meant for", d.To())
		_ = d.Reply(d.Data)
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// A receiver of market data: single datagrams with little latency, exact counters, and the
// times at which its own datagrams left.
func ExampleConfig_latency() {
	cfg := udp.Config{
		BusyPoll:        true,
		NoOffload:       true, // so that the kernel's drops are datagrams
		ControlMessages: true,
		OnTransmit:      func(_ *udp.Conn, n uint32, at time.Time) { fmt.Println("number", n, "left at", at) },
	}
	c, err := cfg.Listen(context.Background(), "udp", ":9000", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		fmt.Println(len(d.Control()), "bytes of control messages")
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// A protocol that searches for the MTU itself (RFC 8899) sends probes of any length, and
// learns from the error what the way to the peer is known to carry.
func ExampleMTUDiscovery() {
	cfg := udp.Config{MTUDiscovery: udp.MTUDiscoveryProbe}
	c, err := cfg.Dial(context.Background(), "udp", "192.0.2.1:443", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{9000, 1500, 1280} {
		err := c.Send(make([]byte, size))
		if tooLong, ok := errors.AsType[*udp.SizeError](err); ok {
			fmt.Println(size, "bytes are too many; the path's MTU is", tooLong.MTU)
		}
	}
}

// The traffic class of a message replaces the socket's, and its ECN codepoint replaces the
// lower two bits of either.
func ExampleDatagram_ECN() {
	network := udptest.NewNet(nil, udptest.Config{})
	lan := network.Segment("lan")
	here, there := lan.Host("here", "192.0.2.1/24"), lan.Host("there", "192.0.2.2/24")
	q := udp.NewQueue(16, udp.Block)
	server, err := udp.Config{Network: there.Network()}.Listen(context.Background(), "udp4", ":7", q)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := here.Config().Listen(context.Background(), "udp4", ":0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	m := udp.Message{Data: []byte("x"), To: netip.MustParseAddrPort("192.0.2.2:7"), TrafficClass: 46 << 2, ECN: udp.ECT0}
	if _, err := client.SendBatch([]udp.Message{m}); err != nil {
		log.Fatal(err)
	}
	d, err := q.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("DSCP", d.TrafficClass()>>2)
	fmt.Println("congestion experienced:", d.ECN() == udp.CE)
	d.Release()
	// Output:
	// DSCP 46
	// congestion experienced: false
}

// A relay enqueues, so that what one read has received leaves in one batch. Errors that are
// found later go to OnSendError.
func ExampleConn_Enqueue() {
	ctx := context.Background()
	q := udp.NewQueue(16, udp.Block)
	target, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", q)
	if err != nil {
		log.Fatal(err)
	}
	defer target.Close()
	cfg := udp.Config{OnSendError: func(_ *udp.Conn, to netip.AddrPort, err error) { log.Println(to, err) }}
	out, err := cfg.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	in, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		if err := out.Enqueue(udp.Message{Data: d.Data, To: target.LocalAddrPort()}); err != nil {
			log.Println(err)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	if err := out.SendTo([]byte("relayed"), in.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := q.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(d.Data), d.From == out.LocalAddrPort())
	d.Release()
	// Output: relayed true
}

// A member for each processor. Skew shows whether the flows are distributed well.
func ExampleConfig_ListenGroup() {
	g, err := udp.Config{}.ListenGroup(context.Background(), 0, "udp", ":9995", func(int) udp.Handler {
		return udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { _ = d.Reply(d.Data) })
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	if g.Steering() == udp.SteeringNone {
		fmt.Println("this system has one socket on a port")
	}
	fmt.Println(len(g.Conns()), "sockets, skew", g.Stats().Skew())
}

// A Handler that waits for something else stops waiting when its socket begins to close.
func ExampleConn_Closing() {
	asked, results := make(chan string, 1), make(chan string) // to and from a database, say
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		asked <- string(d.Data)
		select {
		case result := <-results:
			_ = d.Reply([]byte(result))
		case <-c.Closing():
			fmt.Println("not answered")
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.SendTo([]byte("question"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	<-asked
	c.Close()
	<-c.Done()
	// Output: not answered
}
