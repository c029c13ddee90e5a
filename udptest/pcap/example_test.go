package pcap_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
	"github.com/udpkit/udp/udptest/pcap"
)

func Example() {
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
	w, err := pcap.NewWriter(file)
	if err != nil {
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
	return w.Flush()
}
