package udp_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/udpkit/udp"
)

// A Trace shows what a socket drops. Its functions are called by several goroutines
// and must be fast.
func ExampleTrace() {
	var dropped atomic.Int64
	trace := &udp.Trace{
		Dropped: func(_ *udp.Conn, d udp.Datagram, why udp.DropReason) {
			if why == udp.DroppedTruncated && dropped.Add(1) == 1 {
				fmt.Printf("dropped %d bytes: %v\n", len(d.Data), why)
			}
		},
		Rebind: func(c *udp.Conn) { log.Println(c, "was repaired") },
	}
	q := udp.NewQueue(10, udp.DropNewest)
	c, err := udp.Config{MaxDatagram: 512, Trace: trace}.Listen(context.Background(), "udp", "127.0.0.1:0", q)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{1000, 100} {
		if err := c.SendTo(make([]byte, size), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	d, err := q.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("received %d bytes\n", len(d.Data))
	d.Release()
	// Output:
	// dropped 1000 bytes: truncated
	// received 100 bytes
}

// A socket has one Trace. JoinTraces makes one of several.
func ExampleJoinTraces() {
	received := func(name string) *udp.Trace {
		return &udp.Trace{Received: func(_ *udp.Conn, d udp.Datagram) { fmt.Printf("%s: %s\n", name, d.Data) }}
	}
	q := udp.NewQueue(1, udp.Block)
	cfg := udp.Config{Trace: udp.JoinTraces(received("first"), received("second"))}
	c, err := cfg.Listen(context.Background(), "udp", "127.0.0.1:0", q)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := q.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	d.Release()
	// Output:
	// first: hello
	// second: hello
}
