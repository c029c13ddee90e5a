package udp_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/udpkit/udp"
)

// The ordinary way to consume datagrams.
func ExampleQueue_Receive() {
	ctx := context.Background()
	queue := udp.NewQueue(1024, udp.DropOldest)
	c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := c.SendTo([]byte(text), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	for {
		d, err := queue.Receive(ctx)
		if errors.Is(err, udp.ErrRefused) {
			continue // an ICMP error about a datagram sent earlier
		}
		if err != nil {
			fmt.Println(errors.Is(err, net.ErrClosed))
			return
		}
		fmt.Printf("%s\n", d.Data)
		if string(d.Data) == "two" {
			c.Close()
		}
		d.Release()
	}
	// Output:
	// one
	// two
	// true
}

// All is for those who do not want ICMP errors.
func ExampleQueue_All() {
	ctx := context.Background()
	queue := udp.NewQueue(1024, udp.DropOldest)
	c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	for d := range queue.All(ctx) {
		fmt.Printf("%s\n", d.Data)
		d.Release()
		c.Close() // ends the loop
	}
	fmt.Println(queue.Err())
	// Output:
	// hello
	// <nil>
}

// The channel of a Queue is for select.
func ExampleQueue_Datagrams() {
	queue := udp.NewQueue(1024, udp.DropOldest)
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	select {
	case d, open := <-queue.Datagrams():
		if !open { // the socket has stopped
			log.Fatal(queue.Err())
		}
		fmt.Printf("%s\n", d.Data)
		d.Release()
	case r, open := <-queue.Refusals(): // of a connected socket, or with Config.PeerErrors
		fmt.Println(r, open)
	case <-time.After(time.Minute):
		fmt.Println("nothing came")
	}
	c.Close()
	_, more := <-queue.Datagrams()
	fmt.Println(more)
	// Output:
	// hello
	// false
}

// One Queue can serve several sockets; a datagram knows which it came by.
func ExampleDatagram_Conn() {
	ctx := context.Background()
	queue := udp.NewQueue(16, udp.Block)
	var sockets []*udp.Conn
	for range 2 {
		c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", queue)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		sockets = append(sockets, c)
	}
	if err := sockets[0].SendTo([]byte("hello"), sockets[1].LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Conn() == sockets[1])
	d.Release()
	// Output: true
}

// A reply can be sent at any time, from any goroutine, as long as the socket is
// open. It leaves from the address that was asked.
func ExampleDatagram_Reply() {
	ctx := context.Background()
	questions := udp.NewQueue(16, udp.Block)
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", questions)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	answers := udp.NewQueue(16, udp.Block)
	client, err := udp.Dial(ctx, "udp4", server.LocalAddrPort().String(), answers)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	if err := client.Send([]byte("how are you?")); err != nil {
		log.Fatal(err)
	}
	question, err := questions.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	if err := question.Reply([]byte("fine")); err != nil {
		log.Fatal(err)
	}
	question.Release()
	answer, err := answers.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer.Data)
	answer.Release()
	// Output: fine
}

// What a handler keeps for long, it copies.
func ExampleDatagram_Clone() {
	kept := make(chan udp.Datagram, 2)
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		kept <- d.Clone() // d.Data is overwritten when this function has returned
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"one", "two"} {
		if err := c.SendTo([]byte(text), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%s %s\n", (<-kept).Data, (<-kept).Data)
	// Output: one two
}

// What a handler hands to another goroutine, it retains, without a copy.
func ExampleDatagram_Retain() {
	work := make(chan udp.Datagram, 16)
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		d.Retain()
		work <- d
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d := <-work
	fmt.Printf("%s\n", d.Data)
	d.Release() // d.Data must not be used any more
	// Output: hello
}

// Slow work is spread over goroutines; what one sender sends stays in order.
func ExampleNewWorkers() {
	var (
		mu   sync.Mutex
		seen []string
	)
	workers, err := udp.NewWorkers(udp.WorkersConfig{Capacity: 256, Handler: udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(d.Data))
	})})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", workers)
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := c.SendTo([]byte(text), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.Shutdown(ctx); err != nil { // waits for the workers, too
		log.Fatal(err)
	}
	fmt.Println(seen)
	// Output: [one two three]
}
