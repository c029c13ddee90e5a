package session_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/session"
)

// An echo server with a goroutine for each peer.
func ExampleListen() {
	ln, err := session.Listen(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // the Listener was closed
			}
			go func() {
				defer c.Close()
				io.Copy(c, c) // until the peer was silent for a minute
			}()
		}
	}()

	client, err := net.Dial("udp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Fprint(client, "hello")
	reply := make([]byte, 100)
	n, err := client.Read(reply)
	fmt.Println(string(reply[:n]), err)
	ln.Conn().Close() // ends all sessions; ln.Close() would let them go on
	<-ln.Conn().Done()
	// Output: hello <nil>
}

// A server that lets only those in who send a password, and forgets them after ten seconds.
func ExampleConfig_Listen() {
	ln, err := session.Config{
		IdleTimeout: 10 * time.Second,
		Accept:      func(d udp.Datagram) bool { return string(d.Data) == "swordfish" },
	}.Listen(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := net.Dial("udp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Fprint(client, "hello")
	fmt.Fprint(client, "swordfish")
	c, err := ln.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	b := make([]byte, 100)
	n, _ := c.Read(b)
	fmt.Println(string(b[:n]), "after", ln.Stats().Rejected, "rejected")
	ln.Close()
	c.Close() // the last session: the socket closes too
	<-ln.Conn().Done()
	// Output: swordfish after 1 rejected
}

// counter replies with the number of the peer's datagrams.
type counter struct {
	udp.BaseHandler
	peer *session.Peer
	n    int
}

func (c *counter) Received(*udp.Conn, udp.Datagram) {
	c.n++
	c.peer.Send(fmt.Append(nil, c.n))
}

// Sessions without goroutines: each peer has a handler with state of its own.
func ExampleHandler() {
	m := session.Handler(session.Config{}, func(p *session.Peer) udp.Handler { return &counter{peer: p} })
	c, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", m)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, peer := range []string{"a", "b"} {
		client, err := net.Dial("udp", c.LocalAddr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		defer client.Close()
		for range 2 {
			fmt.Fprint(client, "count me")
			b := make([]byte, 100)
			n, _ := client.Read(b)
			fmt.Println(peer, string(b[:n]))
		}
	}
	c.Close()
	<-c.Done()
	// Output:
	// a 1
	// a 2
	// b 1
	// b 2
}
