package udp_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"syscall"

	"github.com/udpkit/udp"
)

// The kernel says when a datagram arrived, however late it is handled.
func ExampleConfig_Listen() {
	cfg := udp.Config{Timestamps: true}
	queue := udp.NewQueue(16, udp.Block)
	c, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo(nil, c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Time().IsZero())
	// Output: false
}

// Options that this package does not have are set on the descriptor.
func ExampleConn_SyscallConn() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		log.Fatal(err)
	}
	var typ int
	cerr := raw.Control(func(fd uintptr) {
		typ, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
	})
	fmt.Println(typ == syscall.SOCK_DGRAM, err, cerr)
	// Output: true <nil> <nil>
}

func ExampleConn_SendBroadcast() {
	ctx := context.Background()
	heard := make(chan string, 1)
	server, err := udp.Listen(ctx, "udp4", ":0", udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) { heard <- string(d.Data) }))
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	c, err := udp.Config{Broadcast: true}.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// Without an interface it leaves by every one that can broadcast.
	loopback := &net.Interface{Name: "lo"}
	if _, err := c.SendBroadcast([]byte("who is there?"), server.LocalAddrPort().Port(), loopback); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)
	// Output: who is there?
}
