package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/limit"
)

// A service that admits 100 datagrams a second of each network, and is no use for attacks on
// others: when a reply is too long for an address that may be forged, it sends a short one.
func ExampleNew() {
	var l *limit.Limiter
	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		err := l.Reply(d, make([]byte, 1000))
		if errors.Is(err, limit.ErrAmplification) {
			l.Reply(d, []byte("ask by TCP"))
		}
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", l)
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	b := make([]byte, 2000)
	for _, request := range []string{"short request", string(make([]byte, 400))} {
		fmt.Fprint(client, request)
		n, _ := client.Read(b)
		fmt.Println(len(request), "bytes asked,", n, "bytes replied")
	}
	c.Close()
	<-c.Done()
	// Output:
	// 13 bytes asked, 10 bytes replied
	// 400 bytes asked, 1000 bytes replied
}

// An address is validated when the peer returns a token that was sent to it.
func ExampleLimiter_Validate() {
	var l *limit.Limiter
	l, err := limit.New(limit.Config{Rate: 100, Burst: 200}, udp.HandlerFunc(func(_ *udp.Conn, d udp.Datagram) {
		if string(d.Data) == "token" { // a real one depends on d.From and a secret
			l.Validate(d)
			l.Reply(d, make([]byte, 1000))
			return
		}
		l.Reply(d, []byte("token"))
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", l)
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	b := make([]byte, 2000)
	fmt.Fprint(client, "hello")
	n, _ := client.Read(b)
	client.Write(b[:n])
	n, _ = client.Read(b)
	fmt.Println(n, "bytes for", len("token"))
	c.Close()
	<-c.Done()
	// Output: 1000 bytes for 5
}
