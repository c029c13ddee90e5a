//go:build unix

package pcap_test

import (
	"bytes"
	"context"
	"errors"
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
	n := udptest.NewNet(nil, udptest.Config{})
	client := n.Host("client", "10.0.0.1")
	n.Host("server", "10.0.0.2")
	dir, err := os.MkdirTemp("", "")
	if err == nil {
		defer os.RemoveAll(dir)
		err = capture(filepath.Join(dir, "client.pcapng"), client, func() error { return ask(client, "server:7") })
	}
	fmt.Println("Wireshark shows the request and the error:", errors.Is(err, udp.ErrRefused))
	// Output: Wireshark shows the request and the error: true
}

// capture writes what passes a host's link into a file, while f runs.
func capture(path string, host *udptest.Host, f func() error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w := pcap.New(pcap.Config{})
	if err := w.Start(file); err != nil {
		return err
	}
	defer w.Tap(host.Out())()        // all that it sends, lost or not
	defer w.TapArrivals(host.In())() // and what arrives
	return errors.Join(f(), w.Stop())
}

// ask sends a request and waits for the response.
func ask(host *udptest.Host, server string) error {
	q := udp.NewQueue(1, udp.Block)
	c, err := host.Config().Dial(context.Background(), "udp", server, q)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Send([]byte("anybody?")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = q.Receive(ctx)
	return err
}
