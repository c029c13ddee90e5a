package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"syscall"

	"github.com/udpkit/udp"
)

func ExampleDial() {
	ctx := context.Background()
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", echo)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	answers := udp.NewQueue(16, udp.Block)
	client, err := udp.Dial(ctx, "udp", server.LocalAddrPort().String(), answers)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := client.Send([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	d, err := answers.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v\n", d.Data, d.From == client.RemoteAddrPort())
	d.Release()
	// Output: hello true
}

// Nobody listens on the port. The socket hears of it, and goes on.
func ExampleRefusal() {
	queue := udp.NewQueue(16, udp.Block)
	c, err := udp.Dial(context.Background(), "udp4", "127.0.0.1:1", queue)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Send([]byte("anybody?")); err != nil {
		log.Fatal(err)
	}
	_, err = queue.Receive(context.Background())
	var refusal *udp.Refusal
	if !errors.As(err, &refusal) {
		log.Fatal(err)
	}
	fmt.Println(refusal.Peer)
	fmt.Println(errors.Is(refusal, udp.ErrRefused), errors.Is(refusal, syscall.ECONNREFUSED))
	fmt.Println(c.Send([]byte("still here")))
	// Output:
	// 127.0.0.1:1
	// true true
	// <nil>
}

// A socket that listens gets a peer, and keeps its port.
func ExampleConn_Connect() {
	ctx := context.Background()
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", echo)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	queue := udp.NewQueue(16, udp.Block)
	c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	port := c.LocalAddrPort().Port()
	connected, err := c.Connect(server.LocalAddrPort())
	if err != nil {
		log.Fatal(err)
	}
	if err := connected.Send([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v\n", d.Data, c.LocalAddrPort().Port() == port)
	d.Release()
	// Output: hello true
}

// greeter greets its peer as soon as it starts.
type greeter struct{ udp.BaseHandler }

func (greeter) Started(c *udp.Conn) {
	if peer, ok := c.Connected(); ok {
		if err := peer.Send([]byte("good morning")); err != nil {
			log.Print(err)
		}
	}
}

// Inside a Handler, which gets a Conn, Connected is the way to the peer.
func ExampleConn_Connected() {
	ctx := context.Background()
	greeted := udp.NewQueue(16, udp.Block)
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", greeted)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	c, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), greeter{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	d, err := greeted.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	d.Release()
	// Output: good morning
}

func ExampleConnectedConn_Reconnect() {
	ctx := context.Background()
	var queues [2]*udp.Queue
	var servers [2]*udp.Conn
	for i := range servers {
		var err error
		queues[i] = udp.NewQueue(16, udp.Block)
		servers[i], err = udp.Listen(ctx, "udp4", "127.0.0.1:0", queues[i])
		if err != nil {
			log.Fatal(err)
		}
		defer servers[i].Close()
	}

	c, err := udp.Dial(ctx, "udp4", servers[0].LocalAddrPort().String(), udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Send([]byte("to the first")); err != nil {
		log.Fatal(err)
	}
	if err := c.Reconnect(servers[1].LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	if err := c.Send([]byte("to the second")); err != nil {
		log.Fatal(err)
	}
	one, err := queues[0].Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	two, err := queues[1].Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n%s\n", one.Data, two.Data)
	fmt.Println("from one port:", one.From.Port() == two.From.Port())
	// Output:
	// to the first
	// to the second
	// from one port: true
}

func ExampleConnectedConn_Disconnect() {
	ctx := context.Background()
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", echo)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	queue := udp.NewQueue(16, udp.Block)
	connected, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), queue)
	if err != nil {
		log.Fatal(err)
	}
	port := connected.LocalAddrPort().Port()
	c, err := connected.Disconnect()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	fmt.Println(errors.Is(connected.Send(nil), syscall.ENOTCONN))
	if err := c.SendTo([]byte("hello"), server.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, same port: %v\n", d.Data, c.LocalAddrPort().Port() == port)
	d.Release()
	// Output:
	// true
	// hello, same port: true
}
