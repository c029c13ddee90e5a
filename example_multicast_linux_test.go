package udp_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"

	"github.com/udpkit/udp"
)

// A server that a client finds by its group, here on the loopback interface.
func ExampleListenMulticast() {
	ctx := context.Background()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		log.Fatal(err)
	}
	group := netip.MustParseAddr("239.255.0.7")

	// Given here, or to Join without an interface, groups are joined on every one.
	server, err := udp.ListenMulticast(ctx, "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		if err := d.Reply([]byte("here")); err != nil {
			log.Print(err)
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	if err := server.Join(group, loopback); err != nil {
		log.Fatal(err)
	}

	answers := udp.NewQueue(16, udp.Block)
	client, err := udp.ListenMulticast(ctx, "udp4", "127.0.0.1:0", answers)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.SetMulticastInterface(loopback); err != nil {
		log.Fatal(err)
	}
	to := netip.AddrPortFrom(group, server.LocalAddrPort().Port())
	if err := client.SendTo([]byte("where are you?"), to); err != nil {
		log.Fatal(err)
	}
	d, err := answers.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	// Output: here
}

func ExampleMulticastConn_Join() {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		log.Fatal(err)
	}
	c, err := udp.ListenMulticast(context.Background(), "udp4", ":0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	group := netip.MustParseAddr("239.255.0.7")
	if err := c.Join(group, loopback); err != nil {
		log.Fatal(err)
	}
	for _, m := range c.Memberships() {
		fmt.Println(m.Group, m.Held(), m.On[0].Name)
	}
	if err := c.Leave(group); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(c.Memberships()))
	// Output:
	// 239.255.0.7 true lo
	// 0
}

// A socket of its own that wants the datagrams of one sender only.
func ExampleMulticastConn_JoinSource() {
	ctx := context.Background()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		log.Fatal(err)
	}
	group := netip.MustParseAddr("232.0.0.7") // of the source-specific range (RFC 4607)
	wanted := udp.NewQueue(16, udp.Block)
	receiver, err := udp.ListenMulticast(ctx, "udp4", ":0", wanted)
	if err != nil {
		log.Fatal(err)
	}
	defer receiver.Close()
	if err := receiver.JoinSource(group, netip.MustParseAddr("127.0.0.2"), loopback); err != nil {
		log.Fatal(err)
	}

	to := netip.AddrPortFrom(group, receiver.LocalAddrPort().Port())
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		sender, err := udp.ListenMulticast(ctx, "udp4", from+":0", udp.BaseHandler{})
		if err != nil {
			log.Fatal(err)
		}
		defer sender.Close()
		if err := sender.SetMulticastInterface(loopback); err != nil {
			log.Fatal(err)
		}
		if err := sender.SendTo([]byte("I am "+from), to); err != nil {
			log.Fatal(err)
		}
	}
	d, err := wanted.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	// Output: I am 127.0.0.2
}

// SendGroup sends out of several interfaces, and says what became of each.
func ExampleMulticastConn_SendGroup() {
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		log.Fatal(err)
	}
	queue := udp.NewQueue(16, udp.Block)
	c, err := udp.ListenMulticast(context.Background(), "udp4", ":0", queue)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	group := netip.MustParseAddr("239.255.0.7")
	if err := c.Join(group, loopback); err != nil {
		log.Fatal(err)
	}
	// Without interfaces: on those where the group is joined.
	sent, err := c.SendGroup([]byte("hello"), group, c.LocalAddrPort().Port())
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range sent {
		fmt.Println(s.Name, s.Err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, sent to %v\n", d.Data, d.To().Addr())
	// Output:
	// lo <nil>
	// hello, sent to 239.255.0.7
}

func ExampleMulticastConn_SetMulticastTTL() {
	c, err := udp.ListenMulticast(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SetMulticastTTL(4); err != nil { // as far as three routers away
		log.Fatal(err)
	}
	if err := c.SetMulticastLoopback(false); err != nil { // not to this host
		log.Fatal(err)
	}
	ttl, err := c.MulticastTTL()
	if err != nil {
		log.Fatal(err)
	}
	loopback, err := c.MulticastLoopback()
	fmt.Println(ttl, loopback, err)
	// Output: 4 false <nil>
}

// responder uses what only a MulticastConn has inside its callbacks.
type responder struct{ udp.BaseHandler }

func (responder) Started(c *udp.Conn) {
	m, ok := c.Multicast()
	if !ok {
		return
	}
	fmt.Println(m.SetMulticastTTL(255))
}

func ExampleConn_Multicast() {
	c, err := udp.ListenMulticast(context.Background(), "udp4", "127.0.0.1:0", responder{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// Output: <nil>
}
