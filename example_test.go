package udp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// echo sends every datagram back.
var echo = udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
	if err := d.Reply(d.Data); err != nil {
		log.Print(err)
	}
})

// An echo server.
func ExampleListen() {
	ctx := context.Background()
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply(d.Data); err != nil {
			log.Print(err)
		}
	}))
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
	if err := client.Send([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	d, err := answers.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	// Output: hello
}

// tracer is a Handler that prints its callbacks.
type tracer struct{}

func (tracer) Started(c *udp.Conn) { fmt.Println("started on", c.LocalAddrPort().Addr()) }

func (tracer) Received(c *udp.Conn, d udp.Datagram) {
	fmt.Printf("received %q\n", d.Data)
	c.Close() // inside a callback it does not wait
}

func (tracer) Refused(c *udp.Conn, r *udp.Refusal) { fmt.Println("refused:", r.Err) }

func (tracer) Stopped(c *udp.Conn, err error) { fmt.Println("stopped:", err) }

func ExampleHandler() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", tracer{})
	if err != nil {
		log.Fatal(err)
	}
	// A socket can send to itself.
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	<-c.Done()
	// Output:
	// started on 127.0.0.1
	// received "hello"
	// stopped: <nil>
}

// lengths needs only one of the four methods.
type lengths struct {
	udp.BaseHandler
	seen chan int
}

func (l lengths) Received(_ *udp.Conn, d udp.Datagram) { l.seen <- len(d.Data) }

func ExampleBaseHandler() {
	h := lengths{seen: make(chan int, 1)}
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", h)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-h.seen)
	// Output: 5
}

func ExampleConn_SendTo() {
	ctx := context.Background()
	received := udp.NewQueue(16, udp.Block)
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", received)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	// A socket that only sends has nothing to handle.
	sender, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer sender.Close()
	if err := sender.SendTo([]byte("hello"), server.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := received.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %v\n", d.Data, d.From == sender.LocalAddrPort())

	// Addresses are checked before the system is asked.
	err = sender.SendTo([]byte("hello"), netip.MustParseAddrPort("[::1]:7"))
	fmt.Println(errors.Is(err, udp.ErrFamily))
	// Output:
	// hello true
	// true
}

func ExampleConn_SendBatch() {
	ctx := context.Background()
	received := udp.NewQueue(16, udp.Block)
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", received)
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	sender, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer sender.Close()

	to := server.LocalAddrPort()
	n, err := sender.SendBatch([]udp.Message{
		{Data: []byte("one"), To: to},
		{Data: []byte("two"), To: to},
		{Data: nil, To: to}, // an empty datagram
	})
	fmt.Println(n, err)
	for range n {
		d, err := received.Receive(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%q\n", d.Data)
		d.Release()
	}
	// Output:
	// 3 <nil>
	// "one"
	// "two"
	// ""
}

// A callback that goes on for long after it has answered sends the answer with
// Flush: otherwise it may wait until the datagrams read together are handled.
func ExampleConn_Flush() {
	ctx := context.Background()
	answered := make(chan struct{})
	server, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.HandlerFunc(func(c *udp.Conn, d udp.Datagram) {
		if err := d.Reply([]byte("working on it")); err != nil {
			log.Print(err)
		}
		if err := c.Flush(); err != nil {
			log.Print(err)
		}
		<-answered // the long work
	}))
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
	if err := client.Send([]byte("do it")); err != nil {
		log.Fatal(err)
	}
	d, err := answers.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	close(answered)
	fmt.Printf("%s\n", d.Data)
	// Output: working on it
}

// Shutdown handles what has arrived before it closes the socket.
func ExampleConn_Shutdown() {
	queue := udp.NewQueue(16, udp.Block)
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := c.SendTo([]byte(text), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	for d := range queue.Datagrams() { // closed behind the last datagram
		fmt.Printf("%s\n", d.Data)
		d.Release()
	}
	fmt.Println(c.SendTo(nil, c.LocalAddrPort()) != nil, queue.Err())
	// Output:
	// one
	// two
	// true <nil>
}

// Stats can be asked at any time, also after Close.
func ExampleConn_Stats() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	if err := c.SendTo(make([]byte, 70_000), c.LocalAddrPort()); err != nil {
		fmt.Println(errors.Is(err, udp.ErrTooLarge))
	}
	if err := c.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	s := c.Stats()
	fmt.Println("sent", s.Sent, "failed", s.SendErrors, "of which too large", s.SendFailed.TooLarge)
	fmt.Println("received", s.Received, "handled", s.Handled, "dropped", s.Dropped.Total())
	// Output:
	// true
	// sent 1 failed 1 of which too large 1
	// received 1 handled 1 dropped 0
}

func ExampleConn_Info() {
	cfg := udp.Config{ReadBuffer: 64 << 10}
	c, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	info := c.Info()
	fmt.Println("granted what was asked for:", info.ReadBuffer >= 64<<10)
	// Output: granted what was asked for: true
}

func ExampleConn_SetWriteDeadline() {
	c, err := udp.Listen(context.Background(), "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// No send waits longer than a minute from now for room in the kernel's buffer.
	if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.SendTo([]byte("hello"), c.LocalAddrPort()))
	// Output: <nil>
}

// A socket that was made elsewhere: by package net, or by a service manager.
func ExampleConfig_Adopt() {
	uc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	queue := udp.NewQueue(16, udp.Block)
	c, err := udp.Config{}.Adopt(uc, queue) // owns uc from now on
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		log.Fatal(err)
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", d.Data)
	// Output: hello
}

// journal writes a line for each datagram, and flushes them once for each read.
type journal struct {
	udp.BaseHandler
	lines *bufio.Writer
}

func (j *journal) Received(_ *udp.Conn, d udp.Datagram) { fmt.Fprintf(j.lines, "%s\n", d.Data) }

// ReadDone is called after Received was called for all datagrams of a read.
func (j *journal) ReadDone(*udp.Conn) { j.lines.Flush() }

func ExampleHandler_readDone() {
	r := udptest.NewRecorder(nil)
	c := r.Start(&journal{lines: bufio.NewWriter(os.Stdout)})
	r.Receive(udp.Datagram{Data: []byte("one")})
	r.Receive(udp.Datagram{Data: []byte("two")})
	c.Close()
	<-c.Done()
	// Output:
	// one
	// two
}
