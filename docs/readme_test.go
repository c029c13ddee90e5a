package docs_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/udpkit/udp"
	"github.com/udpkit/udp/udptest"
)

// The snippets of README.md.

func handle(request []byte) []byte { return bytes.ToUpper(request) }

func naive(conn *net.UDPConn, buf []byte) error {
	for {
		n, addr, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort(handle(buf[:n]), addr); err != nil {
			return err
		}
	}
}

func server(ctx context.Context, address string) error {
	q := udp.NewQueue(1024, udp.DropOldest)
	c, err := udp.Listen(ctx, "udp", address, q)
	if err != nil {
		return err
	}
	defer c.Close()
	for d := range q.All(ctx) { // until ctx ends or the socket stops
		d.Reply(handle(d.Data)) // from the address that was asked, batched with other replies
		d.Release()             // the buffer, for reuse
	}
	return q.Err()
}

func client(ctx context.Context, cfg udp.Config, address string, request []byte) ([]byte, error) {
	q := udp.NewQueue(16, udp.DropOldest)
	c, err := cfg.Dial(ctx, "udp", address, q)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Send(request); err != nil {
		return nil, err
	}
	d, err := q.Receive(ctx) // ctx's error, or at once a *udp.Refusal if nobody listens there
	return d.Data, err
}

func check([]byte) error { return nil }

func TestClientInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.NewNet(t, udptest.Config{Faults: udptest.Faults{Latency: time.Hour}})
		here, _ := n.Host("here", "10.0.0.1"), n.Host("there", "10.0.0.2") // where nobody listens
		_, err := client(t.Context(), here.Config(), "there:7007", []byte("hello"))
		require.ErrorIs(t, err, udp.ErrRefused) // after two hours of virtual time
	})
}

func TestServerAndClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	address := ""
	start := func() {
		probe, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		address = probe.LocalAddr().String()
		require.NoError(t, probe.Close())
		go func() { done <- server(ctx, address) }()
	}
	start()
	for tries := 1; ; {
		response, err := client(t.Context(), udp.Config{}, address, []byte("hello"))
		if err == nil {
			require.Equal(t, "HELLO", string(response))
			break
		}
		select {
		case err := <-done: // another program was given the port meanwhile
			tries++
			require.Less(t, tries, 10, err)
			start()
		default:
		}
	}
	cancel()
	require.NoError(t, <-done)
}

var _ = naive
