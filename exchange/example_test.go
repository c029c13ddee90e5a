package exchange_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/exchange"
)

// id is the key of these examples: the first two bytes of a message.
func id(b []byte) (uint16, bool) {
	if len(b) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// A request to one server.
func ExampleClient_Do() {
	server, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", udp.HandlerFunc(echo))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	c, err := exchange.New(exchange.Config[uint16]{Key: id})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	response, err := c.Do(context.Background(), server.LocalAddrPort().String(), []byte("\x00\x07hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", response.Data[2:])
	// Output: hello!
}

// Several servers are asked in turn. One that is down costs no time where the system reports ICMP
// errors, and one that is silent costs the time of its schedule.
func ExampleNew() {
	server, err := udp.Listen(context.Background(), "udp", "127.0.0.1:0", udp.HandlerFunc(echo))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	c, err := exchange.New(exchange.Config[uint16]{
		Key:              id,
		Attempts:         2,
		Schedule:         func(attempt int) time.Duration { return 200 * time.Millisecond },
		SocketPerRequest: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, address := range []string{"127.0.0.1:9", server.LocalAddrPort().String()} {
		response, err := c.Do(context.Background(), address, []byte("\x00\x07hello"))
		if errors.Is(err, udp.ErrRefused) {
			continue // nobody listens there
		} else if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s\n", response.Data[2:])
		break
	}
	// Output: hello!
}
