//go:build unix

package pcap_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/pcap"
	"github.com/udpkit/udp/udptest"
)

// A server keeps its last datagrams in memory and writes them to a file on SIGUSR1, and after a
// Handler panicked.
func Example() {
	capture := pcap.New(pcap.Config{Last: 10_000, Snap: 256})
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	written := make(chan error)
	stop := capture.DumpOn(dir, func(path string, err error) {
		if file, rerr := os.ReadFile(path); rerr == nil && bytes.Contains(file, []byte("dropped: panicked")) {
			fmt.Println("the file has the datagram that caused the panic")
		}
		written <- err
	}, syscall.SIGUSR1)
	defer stop()

	cfg := udp.Config{Trace: capture.Trace(), Logger: slog.New(slog.DiscardHandler)}
	c, err := cfg.Listen(context.Background(), "udp", "127.0.0.1:0", udp.HandlerFunc(func(*udp.Conn, udp.Datagram) {
		panic("a bug")
	}))
	if err == nil {
		defer c.Close()
		err = c.SendTo([]byte("surprise"), c.LocalAddrPort())
	}
	if err == nil {
		err = <-written
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output: the file has the datagram that caused the panic
}

// Start and Stop write everything that sockets send, receive and drop in between.
func ExampleCapture_Start() {
	capture := pcap.New(pcap.Config{})
	c, err := udp.Config{Trace: capture.Trace()}.Listen(context.Background(), "udp", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	var file bytes.Buffer // or an *os.File
	if err := capture.Start(&file); err != nil {
		fmt.Println(err)
	}
	if err := c.SendTo([]byte("hello"), c.LocalAddrPort()); err != nil {
		fmt.Println(err)
	}
	if err := capture.Stop(); err != nil {
		fmt.Println(err)
	}
	fmt.Println(bytes.Contains(file.Bytes(), []byte("hello")))
	// Output: true
}

// A Capture records a link of a simulated network, including what the link loses.
func ExampleCapture_Tap() {
	dir, err := os.MkdirTemp("", "")
	if err == nil {
		defer os.RemoveAll(dir)
		err = capture(filepath.Join(dir, "client.pcapng"))
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output: Wireshark shows all that the client has sent and got.
}

// capture writes what passes a client's link into a file.
func capture(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w := pcap.New(pcap.Config{})
	if err := w.Start(file); err != nil {
		return err
	}

	n := udptest.NewNet(nil, udptest.Config{})
	client := n.Host("client", "10.0.0.1")
	n.Host("server", "10.0.0.2")
	defer w.Tap(client.Out())()        // all that it sends, lost or not
	defer w.TapArrivals(client.In())() // and what arrives

	q := udp.NewQueue(1, udp.Block)
	c, err := udp.Config{Network: client.Network()}.Dial(context.Background(), "udp", "server:7", q)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Send([]byte("anybody?")); err != nil {
		return err
	}
	select {
	case <-q.Refusals():
		fmt.Println("Wireshark shows all that the client has sent and got.")
	case <-time.After(time.Minute):
		return context.DeadlineExceeded
	}
	return w.Stop()
}
