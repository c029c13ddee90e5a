package udp_test

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/udpkit/udp"
)

func ExampleConfig() {
	cfg := udp.Config{
		ReadBuffer:  1 << 20, // for bursts
		MaxDatagram: 1200,    // what is longer is dropped and counted
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	queue := udp.NewQueue(16, udp.Block)
	c, err := cfg.Listen(context.Background(), "udp4", "127.0.0.1:0", queue)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{1201, 1200} {
		if err := c.SendTo(make([]byte, size), c.LocalAddrPort()); err != nil {
			log.Fatal(err)
		}
	}
	d, err := queue.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(d.Data), c.Stats().Dropped.Truncated)
	d.Release()
	// Output: 1200 1
}

func ExampleConfig_Dial() {
	cfg := udp.Config{WriteBuffer: 1 << 20}
	c, err := cfg.Dial(context.Background(), "udp4", "localhost:domain", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.RemoteAddrPort())
	// Output: 127.0.0.1:53
}

// The names of hosts and services become addresses; all of them are returned.
func ExampleResolve() {
	addrs, err := udp.Resolve(context.Background(), "udp4", "localhost:domain")
	fmt.Println(addrs, err)

	_, err = udp.Resolve(context.Background(), "udp4", "[::1]:53")
	fmt.Println(errors.Is(err, udp.ErrFamily))
	// Output:
	// [127.0.0.1:53] <nil>
	// true
}

func ExampleResolveAsync() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the look-up when nobody waits for it any more
	lookup := udp.ResolveAsync(ctx, "udp4", "localhost:7")
	// … other work …
	found := <-lookup
	if found.Err != nil {
		log.Fatal(found.Err)
	}
	fmt.Println(found.Addrs[0])
	// Output: 127.0.0.1:7
}

func ExampleConfig_Resolve() {
	// The Config's Resolver is asked, or package net's default one.
	addrs, err := udp.Config{}.Resolve(context.Background(), "udp", "127.0.0.1:domain")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(addrs)
	// Output: [127.0.0.1:53]
}

// One line shows the counters among the variables of package expvar, in JSON.
func ExampleStats_expvar() {
	c, err := udp.Listen(context.Background(), "udp", "localhost:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	expvar.Publish("dns_udp", expvar.Func(func() any { return c.Stats() }))

	var shown struct{ Received, Handled uint64 }
	if err := json.Unmarshal([]byte(expvar.Get("dns_udp").String()), &shown); err != nil {
		log.Fatal(err)
	}
	fmt.Println(shown.Received, shown.Handled)
	// Output: 0 0
}

func ExampleConn_SendContext() {
	ctx := context.Background()
	c, err := udp.Listen(ctx, "udp4", "127.0.0.1:0", udp.BaseHandler{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	cancel() // so that it never waits for room
	fmt.Println(c.SendContext(ctx, udp.Message{Data: []byte("now or never"), To: c.LocalAddrPort()}))
	// Output: <nil>
}
